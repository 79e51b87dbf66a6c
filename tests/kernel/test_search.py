"""The search of an index on the kernel at hand: its verifier takes it, and it finds rules.

Few rules and packets, for virtual machines; test_large.py has many.
"""

from __future__ import annotations

import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Hook
from tests.harness.large.compare import Comparison, draw
from tests.harness.large.runs import compile_large, loaded
from tests.harness.large.themes import THEMES

pytestmark = pytest.mark.kernel

OF = {theme.name: theme for theme in THEMES}
#: Instructions that the verifier may walk, for each that there is.
MOST_WALKED = 40


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", ["nested", "ranges"])
def test_rules_are_found(kernel: LinuxKernel, types: KernelTypes, name: str, version: int) -> None:
    target = Target(types, kernel.possible_cpus(), kernel.clock_hz())
    ruleset, packets = draw(OF[name], version, 1, 150, 400)
    large = compile_large(ruleset, target)
    with loaded(kernel, large.compiled, target) as runs:
        size = len(large.compiled.programs[Hook.FORWARD].insns)
        walked = runs.loaded.programs[Hook.FORWARD].info().verified_insns
        assert walked < MOST_WALKED * size
        found = Comparison(runs, ruleset, packets).differences()
        assert not found, "\n".join(found)
        assert not runs.aborted()
