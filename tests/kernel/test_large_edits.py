"""Large tables edited in place: verdicts and counters are those of the rules they then have."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

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
from tests.harness.large.rules import VERDICTS, Rule, Ruleset, State
from tests.harness.large.runs import Large, Runs, compile_large, family_of, loaded
from tests.harness.large.themes import THEMES, fitting

pytestmark = pytest.mark.kernel

SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
EDITS = 60
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


def stands_alone(rule: Rule) -> bool:
    """Tell whether a rule may come and go by itself, as firewall/change.py has it."""
    return (not rule.target or rule.target in VERDICTS) and not any(
        isinstance(match, State) for match in rule.matches
    )


def alike(name: str, version: int) -> Iterator[Rule]:
    """Give rules of the same kind that are not in the ruleset."""
    donor, _ = draw(OF[name], version, SEED + 1, 10, 300)
    return (rule for rules in donor.chains.values() for rule in rules if stands_alone(rule))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("hosts", 30),
        ("nested", 20),
        ("ranges", 1),
        ("covering", 1),
        ("equal-keys", 5),
        ("negations", 5),
        ("everything", 5),
        ("unconditional", 5),
        ("chains", 5),
    ],
)
def test_edits(kernel: LinuxKernel, target: Target, name: str, version: int, least: int) -> None:
    rng = random.Random(SEED)
    ruleset, _ = draw(OF[name], version, SEED, 10, 600)
    edited = Edited(ruleset, compile_large(ruleset, target))
    others = alike(name, version)
    done = 0
    for _ in range(EDITS):
        chain = rng.choice([index.chain for index in edited.compiled.indexes])
        rules = ruleset.chains[chain]
        if rng.random() < 0.5:
            at = rng.randrange(len(rules))
            done += stands_alone(rules[at]) and edited.remove(chain, at)
        else:
            rule = fitting(next(others), chain)
            done += edited.add(chain, rng.randint(0, len(rules)), rule)
    assert done >= least, f"BPFILTER_SEED={SEED}"
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
