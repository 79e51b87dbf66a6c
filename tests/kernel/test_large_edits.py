"""Large tables edited in place: verdicts and counters are those of the rules they then have."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.build import Compiled
from bpfilter.compiler.cells import CELLS_MAP
from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.compiler.edit import Added, Removed, editor
from bpfilter.compiler.index.search import INDEX_MAP
from bpfilter.compiler.target import Target
from bpfilter.dataclass import replace
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules import model
from bpfilter.rules.options import RuleParser
from bpfilter.source import Span
from tests.harness.large.compare import Comparison, around, draw
from tests.harness.large.packets import Drawer
from tests.harness.large.rules import Rule, Ruleset, State
from tests.harness.large.runs import Large, Runs, compile_large, family_of, loaded
from tests.harness.large.themes import THEMES, fitting

pytestmark = pytest.mark.kernel

SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
EDITS = 120
PACKETS = 3000
OF = {theme.name: theme for theme in THEMES}


@pytest.fixture(scope="module")
def target(kernel: LinuxKernel, types: KernelTypes) -> Target:
    return Target(types, kernel.possible_cpus(), kernel.clock_hz())


class Edited:
    """A ruleset and its table, changed together; counters go by rule."""

    def __init__(self, ruleset: Ruleset, large: Large) -> None:
        self.ruleset = ruleset
        self.compiled = large.compiled
        self.layout = large.compiled.layout
        self.memory = {
            name: bytearray(large.compiled.maps[name].contents or b"")
            for name in (CELLS_MAP, INDEX_MAP)
        }
        keys = enumerate(large.compiled.counters, COUNTER_FIRST)
        of = {(key.chain, key.number): counter for counter, key in keys}
        self.policies = {name: of[name, 0] for name in ruleset.policies}
        self.counters = {
            name: [of[name, number] for number in range(1, len(rules) + 1)]
            for name, rules in ruleset.chains.items()
        }
        self.unused = COUNTER_FIRST + len(large.compiled.counters)

    def remove(self, chain: str, at: int) -> bool:
        rule, counter = self.ruleset.chains[chain][at], self.counters[chain][at]
        gone = Removed(chain, parsed(rule, chain, self.ruleset), counter)
        if not self._edit([gone], []):
            return False
        del self.ruleset.chains[chain][at], self.counters[chain][at]
        return True

    def add(self, chain: str, at: int, rule: Rule) -> bool:
        after = self.counters[chain][at - 1] if at else None
        new = Added(chain, parsed(rule, chain, self.ruleset), self.unused, after)
        if not self._edit([], [new]):
            return False
        self.ruleset.chains[chain].insert(at, rule)
        self.counters[chain].insert(at, self.unused)
        self.unused += 1
        return True

    def _edit(self, removed: list[Removed], added: list[Added]) -> bool:
        copies = {name: bytearray(data) for name, data in self.memory.items()}
        views = {name: memoryview(data) for name, data in copies.items()}
        made = editor().edit(views, self.layout, removed, added)
        if made is None:
            return False
        self.memory, self.layout = copies, made.layout
        return True

    def table(self) -> Compiled:
        maps = {
            name: replace(spec, contents=bytes(self.memory[name])) if name in self.memory else spec
            for name, spec in self.compiled.maps.items()
        }
        return replace(self.compiled, maps=maps)

    def counted(self, runs: Runs) -> dict[tuple[str, int], tuple[int, int]]:
        every = {(name, 0): counter for name, counter in self.policies.items()}
        for name, counters in self.counters.items():
            every |= {(name, number): counter for number, counter in enumerate(counters, 1)}
        counts = runs.counts()
        return {key: (int(counts[at, 0]), int(counts[at, 1])) for key, at in every.items()}


def parsed(rule: Rule, chain: str, ruleset: Ruleset) -> model.Rule:
    line = " ".join(rule.words(chain, ruleset.version))
    parser = RuleParser(family_of(ruleset.version), "filter", set(ruleset.chains))
    command = parser.parse_line(line, Span("", 1, 1, len(line) + 1, line))
    assert command is not None
    return command.rules[0]


def alike(name: str, version: int) -> Iterator[Rule]:
    """Give rules of the same kind that are not in the ruleset."""
    donor, _ = draw(OF[name], version, SEED + 1, 10, 300)
    rules = [rule for rules in donor.chains.values() for rule in rules]
    random.Random(SEED).shuffle(rules)
    return itertools.cycle(rules)


def has_loop(ruleset: Ruleset) -> bool:
    follow = {name: {r.jumps_to for r in rules} for name, rules in ruleset.chains.items()}
    ends = {name for name, to in follow.items() if not to - {None}}
    while found := {n for n in follow.keys() - ends if not follow[n] - ends - {None}}:
        ends |= found
    return ends != follow.keys()


@dataclass
class Done:
    """How many edits were made in place."""

    indexed: int = 0
    walked: int = 0
    calls: int = 0
    states: int = 0

    def note(self, edited: Edited, chain: str, rule: Rule) -> None:
        is_indexed = chain in {index.chain for index in edited.compiled.indexes}
        self.indexed += is_indexed
        self.walked += not is_indexed
        self.calls += rule.jumps_to is not None
        self.states += any(isinstance(match, State) for match in rule.matches)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("hosts", Done(15, 10)),
        ("nested", Done(10, 10)),
        ("ranges", Done(1, 10)),
        ("covering", Done(1, 10)),
        ("equal-keys", Done(3, 10)),
        ("negations", Done(3, 10)),
        ("everything", Done(3, 10, states=1)),
        ("stateful", Done(3, 10, states=5)),
        ("unconditional", Done(3, 10)),
        ("chains", Done(3, 10, calls=5)),
        ("many-large-chains", Done(3, 3, calls=1)),
    ],
)
def test_edits(kernel: LinuxKernel, target: Target, name: str, version: int, least: Done) -> None:
    rng = random.Random(SEED)
    ruleset, _ = draw(OF[name], version, SEED, 10, 600)
    edited = Edited(ruleset, compile_large(ruleset, target))
    others = alike(name, version)
    large = [index.chain for index in edited.compiled.indexes]
    small = [chain for chain in ruleset.chains if chain not in large] or large
    done = Done()
    for _ in range(EDITS):
        chain = rng.choice(rng.choice((large, small)))
        rules = ruleset.chains[chain]
        if rules and rng.random() < 0.5:
            at = rng.randrange(len(rules))
            rule = rules[at]
            if edited.remove(chain, at):
                done.note(edited, chain, rule)
        else:
            rule = fitting(next(others), chain)
            if edited.add(chain, rng.randint(0, min(len(rules), rng.choice((4, 1000)))), rule):
                done.note(edited, chain, rule)
    assert not has_loop(ruleset)
    made = f"BPFILTER_SEED={SEED}: {done}"
    assert done.indexed >= least.indexed, made
    assert done.walked >= least.walked, made
    assert done.calls >= least.calls, made
    assert done.states >= least.states, made
    drawer = Drawer(ruleset, around(version), np.random.default_rng(SEED))
    with loaded(kernel, edited.table(), target) as runs:
        runs.counted = lambda: edited.counted(runs)  # type: ignore[method-assign]
        found = Comparison(runs, ruleset, drawer.draw(PACKETS)).differences()
    assert not found, "\n".join([f"BPFILTER_SEED={SEED}", *found])


def test_programs_are_those_of_the_table(target: Target) -> None:
    ruleset, _ = draw(OF["nested"], 4, SEED, 10, 300)
    compiled = compile_large(ruleset, target, override=None).compiled
    again = editor().programs(compiled.layout, target)
    assert {hook: spec.insns for hook, spec in again.items()} == {
        hook: spec.insns for hook, spec in compiled.programs.items()
    }
