"""Large rulesets, each found through an index: verdicts and all counters are those of a plain
walk over the rules, and no packet takes more steps than stated.

The themes' rules are hard for one structure or the other (harness/large/themes.py); the
packets are near them. More of the same: `python -m tests.harness.large`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Hook
from bpfilter.rules.saved import parse_saved
from bpfilter.simulate import run as simulate
from bpfilter.simulate.packet import Connection, Packet, State, Surroundings
from bpfilter.simulate.run import Outcome, Simulator
from tests.harness.large.compare import Comparison, compare, draw, expected
from tests.harness.large.packets import HEADER_BYTES
from tests.harness.large.rules import HOOKS, STATES, Ports, Rule, Ruleset
from tests.harness.large.runs import Large, compile_large, family_of, loaded
from tests.harness.large.structures import Adversary, key_words, structures, views
from tests.harness.large.themes import THEMES, Theme

pytestmark = pytest.mark.kernel

#: Where a run starts; set it to run again what a failing run printed.
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
#: For each theme and family: more than a million in all.
PACKETS = 32_000
OF = {theme.name: theme for theme in THEMES}

both_families = pytest.mark.parametrize("version", [4, 6])
every_theme = pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)


@pytest.fixture(scope="module")
def target(kernel: LinuxKernel, types: KernelTypes) -> Target:
    return Target(types, kernel.possible_cpus(), kernel.clock_hz())


@pytest.fixture(autouse=True)
def _one_cpu() -> Iterator[None]:
    """Stay on CPU 0: test runs in a row are quicker so."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    yield
    os.sched_setaffinity(0, before)


def test_a_million_packets() -> None:
    assert len(THEMES) * 2 * PACKETS >= 1_000_000


@both_families
@every_theme
def test_verdicts_and_counters(
    kernel: LinuxKernel, target: Target, theme: Theme, version: int
) -> None:
    found = compare(kernel, target, theme, version, SEED, PACKETS)
    assert not found, "\n".join([f"BPFILTER_SEED={SEED}", *found])
