"""Programs against the reference: the same packets, and a few that tell where they differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from bpfilter.compiler.bulk_layout import MAX_IN_FRONT, MIN_SEARCHED
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from tests.harness.large.packets import Around, Drawer
from tests.harness.large.reference import Ints, Judge, Judgement, Packets
from tests.harness.large.rules import HOOKS, VERDICTS, Rule, Ruleset, prefix_mask
from tests.harness.large.runs import Runs, compile_large, loaded
from tests.harness.large.themes import WIDE, Theme, draw_ruleset

Counts = dict[tuple[str, int], tuple[int, int]]

#: How many seeds are tried for a ruleset that is large enough.
SEEDS = 20
#: Rules of a theme; those of which no two are alike, or with many chains, take long to compile.
SIZES = {
    "hosts": 3000,
    "covering": 5000,
    "ranges": 2000,
    "both-ranges": 2000,
    "everything": 500,
    "chains": 600,
    "many-large-chains": 500,
    "no-two-alike": 500,
}
SIZE = 900


def around(version: int) -> Around:
    """Say what packets are drawn from where no rule asks."""
    space = WIDE[version]
    sources, destinations = (
        tuple((value, prefix_mask(length, version)) for value, length in spaces)
        for spaces in (space.sources, space.destinations)
    )
    return Around(sources, destinations)


def draw(
    theme: Theme, version: int, seed: int, packets: int, size: int = 0
) -> tuple[Ruleset, Packets]:
    """Draw a ruleset of a theme, of about `size` rules if given, and packets for it.

    Where an early rule that ends everything leaves too few rules to search, the next seeds
    are tried.
    """
    size = size or SIZES.get(theme.name, SIZE)
    drawn = (
        draw_ruleset(theme, version, size, each, WIDE[version]) for each in itertools.count(seed)
    )
    ruleset = next(filter(has_large_chain, itertools.islice(drawn, SEEDS)))
    drawer = Drawer(ruleset, around(version), np.random.default_rng(seed))
    return ruleset, drawer.draw(packets)


def has_large_chain(ruleset: Ruleset) -> bool:
    """Tell whether packets get to so many rules of a chain that it is searched."""
    todo, seen = list(ruleset.policies), set(ruleset.policies)
    while todo:
        live = list(_live(ruleset.chains.get(todo.pop(), [])))
        if len(live) >= MIN_SEARCHED + MAX_IN_FRONT:
            return True
        following = {rule.jumps_to for rule in live if rule.jumps_to} - seen
        seen |= following
        todo += following
    return False


def _live(rules: Iterable[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        if rule.target in VERDICTS and rule == Rule(target=rule.target):
            return


def expected(ruleset: Ruleset, packets: Packets) -> tuple[Judgement, Counts]:
    """Give what the reference says, with counters as `Runs.counted` gives them."""
    judged = Judge(ruleset, packets).run(HOOKS)
    counts = {(hook, 0): _pair(count) for hook, count in judged.policies.items()}
    for chain, rules in judged.rules.items():
        counts |= {(chain, number): _pair(count) for number, count in enumerate(rules, 1)}
    return judged, counts


def _pair(count: Ints) -> tuple[int, int]:
    packets, size = count.tolist()
    return packets, size


class Comparison:
    """Runs packets of a ruleset, and looks for those that differ."""

    def __init__(self, runs: Runs, ruleset: Ruleset, packets: Packets) -> None:
        self.runs = runs
        self.ruleset = ruleset
        self.packets = packets

    def differences(self, most: int = 3) -> list[str]:
        """Describe some packets that differ, found by halving; none if all are the same."""
        found: list[str] = []
        todo = [np.arange(len(self.packets))]
        while todo and len(found) < most:
            which = todo.pop()
            said = self._run(which)
            if said and len(which) > 1:
                middle = len(which) // 2
                todo += [which[middle:], which[:middle]]
                if len(which) == len(self.packets):
                    found.append(f"among all {len(which)} packets: {said[0]}, and {len(said) - 1}")
            elif said:
                found.append("\n  ".join([self._describe(int(which[0])), *said]))
        return found

    def _run(self, which: Ints) -> list[str]:
        packets = self.packets.take(which)
        before = self.runs.counted()
        accepted = self.runs.run(packets)
        after = self.runs.counted()
        judged, wanted = expected(self.ruleset, packets)
        wrong = np.flatnonzero(accepted != judged.accepted)
        said = [f"{len(wrong)} verdicts"] if len(wrong) else []
        for key, count in wanted.items():
            ours = (after[key][0] - before[key][0], after[key][1] - before[key][1])
            if ours != count:
                said.append(f"{self._rule(*key)}: reference {count}, ours {ours}")
        return said

    def _rule(self, chain: str, number: int) -> str:
        if number == 0:
            return f"policy of {chain}"
        rule = self.ruleset.chains[chain][number - 1]
        return f"{number}: {' '.join(rule.words(chain, self.ruleset.version))}"

    def _describe(self, at: int) -> str:
        p = self.packets
        return (
            f"packet {at} at {HOOKS[p.hook[at]]}: {p.data[at, : p.length[at]].tobytes().hex()}, "
            f"in {p.names[p.iif[at]]!r}, out {p.names[p.oif[at]]!r}, mark {p.mark[at]:#x}, "
            f"state {p.state[at]}, protocol {p.upper.protocol[at]}, "
            f"ports {p.upper.source_port[at]} and {p.upper.target_port[at]}"
        )


def compare(
    kernel: LinuxKernel, target: Target, theme: Theme, version: int, seed: int, packets: int
) -> list[str]:
    """Compile and load a ruleset of a theme; give how programs and reference differ over it."""
    ruleset, drawn = draw(theme, version, seed, packets)
    large = compile_large(ruleset, target)
    with loaded(kernel, large.compiled, target) as runs:
        found = Comparison(runs, ruleset, drawn).differences()
        if runs.aborted():
            found.append(f"{runs.aborted()} packets could not be evaluated")
    return found
