"""Large rulesets, each found through an index: verdicts and all counters are those of a plain
walk over the rules, and no packet takes more steps than stated.

The themes' rules are hard for one structure or the other (harness/large/themes.py); the
packets are near them. More of the same: `python -m tests.harness.large`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.index import tuples
from bpfilter.compiler.index.layout import BATCH
from bpfilter.compiler.steps import Steps
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Hook
from bpfilter.rules.saved import parse_saved
from bpfilter.simulate import run as simulate
from bpfilter.simulate.packet import Connection, Packet, State, Surroundings
from bpfilter.simulate.run import Outcome, Simulator
from tests.harness.large.compare import Comparison, around, compare, draw
from tests.harness.large.packets import Drawer
from tests.harness.large.rules import HOOKS, STATES, Ruleset
from tests.harness.large.runs import (
    AROUND_MAP,
    SLOTS,
    Large,
    compile_large,
    family_of,
    loaded,
    read_slots,
)
from tests.harness.large.structures import (
    NO_PROTOCOL,
    Adversary,
    Words,
    chains,
    key_words,
    structures,
    views,
)
from tests.harness.large.themes import THEMES, WIDE, Pen, Theme

pytestmark = pytest.mark.kernel

#: Where a run starts; set it to run again what a failing run printed.
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
#: For each theme and family: more than a million in all.
PACKETS = 32_000
#: Instructions, at most: to read a packet and evaluate what is not searched, and for a step.
READING, A_STEP = 800, 80
#: Of a million that the verifier would walk, with as many tuples as there may be.
MOST_VERIFIED = 300_000
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


@pytest.mark.parametrize("seed", [2, 8])
def test_masks_with_gaps_do_not_hide_rules(kernel: LinuxKernel, target: Target, seed: int) -> None:
    """Cuts gave rules to children whose packets they do not match, where they hid others."""
    found = compare(kernel, target, OF["holes"], 4, seed, PACKETS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nested", {"tuples", "cuts", "views"}),
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
    ruleset, packets = draw(OF[name], version, SEED, 2000, 500)
    large = compile_large(ruleset, target)
    near = key_words(large, packets)
    stated = {index.chain: index.steps for index in large.compiled.indexes}
    chain = max(stated, key=lambda name: stated[name])
    most = [
        Adversary(large, view, near, SEED).worst(5_000, 100)[1]
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
@pytest.mark.parametrize("name", ["nested", "ranges", "both-ranges", "interfaces"])
def test_a_step_is_a_few_instructions(types: KernelTypes, name: str, version: int) -> None:
    """Programs take the steps that were counted, and no more."""
    pen = Pen(random.Random(SEED), version, WIDE[version])
    drawn = (OF[name].rule(pen) for _ in range(5000))
    rules = [replace(rule, target="DROP") for rule in drawn if rule.protocol][:800]
    ruleset = Ruleset(version, dict.fromkeys(HOOKS, "ACCEPT"), {hook: [] for hook in HOOKS})
    ruleset.chains["FORWARD"] = rules
    packets = Drawer(ruleset, around(version), np.random.default_rng(SEED)).draw(2000)
    large = compile_large(ruleset, Target(types, 1, 250), override=read_slots)
    near = key_words(large, packets)
    adversary = Adversary(large, chains(large)["FORWARD"][0], near, SEED)
    simulator = simulated(large, ruleset, types)
    for words in (adversary.worst(5_000, 100)[0], *near[:100]):
        # Of a protocol that no rule asks for: one search, which finds nothing.
        walk = adversary.walk(words)
        assert walk.found is None
        most = READING + A_STEP * walk.steps
        assert executed(large, simulator, words) <= most, f"BPFILTER_SEED={SEED}"


def executed(large: Large, simulator: Simulator, words: Words) -> int:
    """Give the instructions that a packet with such words takes at FORWARD."""
    slots = np.zeros(SLOTS, np.uint32)
    slots[list(large.search.keys)] = words
    if large.search.proto:
        slots[large.search.proto.slot] |= NO_PROTOCOL << large.search.proto.shift
    simulator._maps[AROUND_MAP].values.data[:] = slots.tobytes()
    beside = Surroundings("eth0", "eth1", Connection(State.NEW), 0, cpu=0)
    data = bytes(
        [0x45, 0, 0, 40, *bytes(36)] if large.compiled.family == 2 else [0x60, *bytes(79)]
    )
    simulator.run(Packet(data), Hook.FORWARD, around=beside)
    return simulator._machines[Hook.FORWARD].executed


@both_families
@pytest.mark.parametrize("name", ["nested", "both-ranges", "interfaces", "everything"])
def test_the_interpreter_agrees(
    kernel: LinuxKernel, target: Target, types: KernelTypes, name: str, version: int
) -> None:
    """It reads interfaces, marks and states of the packets, which the test run is told."""
    ruleset, packets = draw(OF[name], version, SEED, 60, 400)
    large = compile_large(ruleset, target)
    with loaded(kernel, large.compiled, target) as runs:
        accepted = runs.run(packets)
        counted = runs.counted()
    plain = compile_large(ruleset, Target(types, 1, target.hz), override=None)
    simulator = simulated(plain, ruleset, types)
    states = {bit: State(name.lower()) for name, bit in STATES.items()}
    for at, is_accepted in enumerate(accepted):
        beside = Surroundings(
            packets.names[packets.iif[at]],
            packets.names[packets.oif[at]],
            Connection(states[int(packets.state[at])]),
            int(packets.mark[at]),
            cpu=0,
        )
        packet = Packet(packets.data[at, : packets.length[at]].tobytes())
        result = simulator.run(packet, Hook[HOOKS[packets.hook[at]]], around=beside)
        assert (result.verdict is Outcome.ACCEPT) == is_accepted, f"BPFILTER_SEED={SEED}, {packet}"
    pairs = iter(simulator.totals()[4 : 4 + 2 * len(counted)])  # those of rules
    assert [*counted.values()] == [*zip(pairs, pairs, strict=True)], f"BPFILTER_SEED={SEED}"


def test_an_empty_child_behind_two_cuts(kernel: LinuxKernel, target: Target) -> None:
    """The tuple probed next is not taken for the one that the cuts were of."""
    ruleset, packets = draw(OF["both-ranges"], 6, 1, 5000)
    large = compile_large(ruleset, target)
    with loaded(kernel, large.compiled, target) as runs:
        assert not Comparison(runs, ruleset, packets).differences()


@pytest.mark.parametrize("forgets", [True, False])
@pytest.mark.parametrize("may_goto", [True, False])
def test_many_batches_on_every_kind_of_loop(
    kernel: LinuxKernel,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    may_goto: bool,
    forgets: bool,
) -> None:
    """As many tuples as there may be, with the loops of kernels that lack what this one has."""
    monkeypatch.setattr(Steps, "of", lambda b, iterator, _: Steps(b, iterator, may_goto, forgets))
    for price in ("GATHER_NS", "VISIT_NS", "RUN_ROWS"):
        monkeypatch.setattr(tuples, price, 0.01)
    # The same rules each time: others may have fewer masks than it takes.
    ruleset, packets = draw(OF["nested"], 4, 1, 3000, 6000)
    large = compile_large(ruleset, target)
    assert len(large.search.tuples) > 2 * BATCH
    with loaded(kernel, large.compiled, target) as runs:
        verified = runs.loaded.programs[Hook.FORWARD].info().verified_insns
        assert verified < MOST_VERIFIED, f"{verified} instructions were walked"
        found = Comparison(runs, ruleset, packets).differences()
    assert not found, "\n".join(found)
