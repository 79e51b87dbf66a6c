"""Large rulesets: packet for packet the same as the kernel's iptables, counters included.

More of the same: `python -m tests.harness.fuzz --large --packets 4200`.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.harness.engines import EditedEngine, LargeEngine, LegacyEngine, remove_leftovers
from tests.harness.fuzz import Tally, compare, compare_everywhere
from tests.harness.large.cases import large_case

pytestmark = pytest.mark.e2e

#: Where a run starts; set it to run again what a failing run printed.
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
RULESETS = 24
PACKETS = 4_200


@pytest.fixture(autouse=True, scope="module")
def _no_leftovers() -> None:
    remove_leftovers()


def test_every_verdict_and_counter_is_as_with_iptables() -> None:
    engines = LegacyEngine(), LargeEngine()
    tally = compare_everywhere(engines, range(SEED, SEED + RULESETS), PACKETS, large_case)
    agreed(tally)
    assert tally.packets >= 100_000
    assert tally.rules_hit > tally.rules / 20, tally


def test_so_it_is_after_a_few_changes_to_rules_in_force() -> None:
    engine = EditedEngine()
    tally = compare((LegacyEngine(), engine), range(SEED, SEED + 8), 1000, draw=large_case)
    agreed(tally)
    assert engine.in_place > engine.changes / 2, f"{engine.in_place} of {engine.changes}"


def agreed(tally: Tally) -> None:
    """Require that nothing differs."""
    print(f"BPFILTER_SEED={SEED}: {tally}")  # noqa: T201
    assert not tally.found, "\n".join(map(str, tally.found))
    assert len(tally.unrepeated) <= 2, "\n".join(tally.unrepeated)
