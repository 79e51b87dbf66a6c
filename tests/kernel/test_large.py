"""Large rulesets, each found through an index: verdicts and all counters are those of a plain
walk over the rules, and no packet takes more steps than stated.

The themes' rules are hard for one structure or the other (harness/large/themes.py); the
packets are near them. More of the same: `python -m tests.harness.large`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Hook
from bpfilter.rules.saved import parse_saved
from bpfilter.simulate import run as simulate
from bpfilter.simulate.packet import Connection, Packet, State, Surroundings
from bpfilter.simulate.run import Outcome, Simulator
from tests.harness.large.compare import Comparison, compare, draw
from tests.harness.large.rules import HOOKS, STATES, Ruleset
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


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nested", {"tuples", "pruners", "cuts", "views"}),
        ("ranges", {"cuts", "long runs", "chains"}),
        ("unconditional", {"long runs"}),
        ("everything", {"views", "tuples"}),
        ("chains", {"chains"}),
    ],
)
def test_every_structure_is_used(target: Target, name: str, parts: set[str]) -> None:
    """What the packets above go through; the same rules each time."""
    ruleset, _ = draw(OF[name], 4, 1, 1)
    assert structures(compile_large(ruleset, target)) >= parts


@both_families
@pytest.mark.parametrize("name", ["nested", "ranges", "both-ranges", "holes", "interfaces"])
def test_no_packet_takes_more_steps_than_stated(target: Target, name: str, version: int) -> None:
    ruleset, packets = draw(OF[name], version, SEED, 3000, 600)
    large = compile_large(ruleset, target)
    near = key_words(large, packets)
    stated = {index.chain: index.steps for index in large.compiled.indexes}
    chain = max(stated, key=lambda name: stated[name])
    most = [
        Adversary(large, view, near, SEED).worst(20_000)
        for name, view in views(large)
        if name == chain
    ]
    assert max(most) <= stated[chain], f"BPFILTER_SEED={SEED}"
    # The bound says something: there are packets that come near it.
    assert max(most) > stated[chain] / 5, f"BPFILTER_SEED={SEED}"


def simulated(large: Large, ruleset: Ruleset, types: KernelTypes) -> Simulator:
    """Give the interpreter with the programs of a large table."""
    read = parse_saved(ruleset.text(), "large", family_of(ruleset.version))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "compile_table", lambda *_, **__: large.compiled)
        made = Simulator(read, local=(), types=types)
    made.world.state["net"] = 0
    return made


@both_families
@pytest.mark.parametrize("name", ["nested", "both-ranges", "interfaces", "everything"])
def test_the_interpreter_agrees(
    kernel: LinuxKernel, target: Target, types: KernelTypes, name: str, version: int
) -> None:
    """It reads interfaces, marks and states of the packets, which the test run is told."""
    ruleset, packets = draw(OF[name], version, SEED, 100, 400)
    large = compile_large(ruleset, target)
    with loaded(kernel, large.compiled, target) as runs:
        accepted = runs.run(packets)
        counted = runs.counted()
    plain = compile_large(ruleset, Target(types, 1, target.hz), around=False)
    simulator = simulated(plain, ruleset, types)
    states = {bit: State(name.lower()) for name, bit in STATES.items()}
    for at, is_accepted in enumerate(accepted):
        around = Surroundings(
            packets.names[packets.iif[at]],
            packets.names[packets.oif[at]],
            Connection(states[int(packets.state[at])]),
            int(packets.mark[at]),
            cpu=0,
        )
        packet = Packet(packets.data[at, : packets.length[at]].tobytes())
        result = simulator.run(packet, Hook[HOOKS[packets.hook[at]]], around=around)
        assert (result.verdict is Outcome.ACCEPT) == is_accepted, f"BPFILTER_SEED={SEED}, {packet}"
    pairs = iter(simulator.totals()[4:])  # less those of no rule
    assert [*counted.values()] == [*zip(pairs, pairs, strict=True)], f"BPFILTER_SEED={SEED}"


def test_an_empty_child_behind_two_cuts(kernel: LinuxKernel, target: Target) -> None:
    """The tuple probed next is not taken for the one that the cuts were of."""
    ruleset, packets = draw(OF["both-ranges"], 6, 1, 5000)
    large = compile_large(ruleset, target)
    with loaded(kernel, large.compiled, target) as runs:
        assert not Comparison(runs, ruleset, packets).differences()
