"""What a text changes in the rules in force: a few rules that go or come, or too much for that.

Every rule has a counter of its own, by which it is known. A rule that is in both texts keeps
its counter, wherever it has moved; what is new gets one in which nothing counts.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.compiler.edit import Added, Removed
from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import SourceError
from bpfilter.firewall.counters import FIRST_RULE
from bpfilter.firewall.differences import Hunk, hunks, spliced
from bpfilter.firewall.equals import with_equals
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.lines import END, Lines, cut, encode
from bpfilter.firewall.pairing import NONE, left_over, pair
from bpfilter.firewall.revision import NEW, Revision
from bpfilter.firewall.stretch import Stretch
from bpfilter.rules.model import Rule
from bpfilter.rules.options import RuleParser
from bpfilter.source import Span

#: A change of more lines than this is compiled as a whole.
MOST_LINES = 64
#: So many rules with a match are looked at, for one that tracks.
_FEW = 8

_START = b"-A %b"


@dataclass(frozen=True, slots=True)
class Change:
    """`order` and `lines` are those of the new rules; `fresh` are counters that come into use.

    `begins` are the counters that are to start anew, those of `fresh` among them, each with
    the packets and bytes it starts with.
    """

    lines: Lines
    order: array[int]
    hunks: tuple[Hunk, ...]
    removed: tuple[Removed, ...]
    added: tuple[Added, ...]
    fresh: tuple[int, ...]
    begins: dict[int, tuple[int, int]]
    free: tuple[int, ...]
    unused: int
    canonical: bool = False


def change_of(
    text: bytes, current: Generation, kept: Lines, order: array[int] | None
) -> Change | None:
    """Say how to make the rules of a text of those in force, None if it takes more than rules.

    Whatever is not plain here, faults among them, is better told by compiling the text.
    """
    found = cut(text)
    if found is None or not _is_same_head(found[0], current, kept):
        return None
    differ = hunks(kept.body, found[1], 2 * MOST_LINES)
    differ = None if differ is None else with_equals(differ, kept.body, 2 * MOST_LINES)
    if differ is None:
        return None
    making = _Making(current, kept, _kept(kept, found[1]), differ, order)
    return making.change(_paired)


def revised(
    revision: Revision, current: Generation, kept: Lines, order: array[int] | None
) -> Change | None:
    """Say the same of a revision, whose every line says where its counter comes from."""
    if revision.lines.head != kept.head:
        return None
    differ = revision.hunks(kept.rules(), 2 * MOST_LINES)
    if differ is None:
        return None
    making = _Making(current, kept, revision.lines, differ, order)
    sources = making.sources(revision.origin)
    change = making.change(lambda *_: sources)
    if change is None:
        return None
    numbers = [hunk.new + at for hunk in differ for at in range(len(hunk.come))]
    new = [number for number, found in zip(numbers, sources, strict=True) if found == NONE]
    begins = {
        counter: revision.begins.get(number, (0, 0))
        for counter, number in zip(change.fresh, new, strict=True)
    }
    for at, counts in revision.policies.items():
        begins[COUNTER_FIRST + at] = counts
    return replace(change, begins=begins, canonical=True)


# Nearly always that is the text as it came.
def _kept(before: Lines, body: Stretch) -> Lines:
    is_whole = body.text.startswith(before.head) and body.start == before.start
    if is_whole and len(body.text) == body.end + len(END):
        return Lines(body.text, body.start)
    return Lines.of(before.head, memoryview(body.text)[body.start : body.end])


def _is_same_head(declared: list[bytes], current: Generation, kept: Lines) -> bool:
    policies = {encode(chain): encode(policy) for chain, policy in current.policies.items()}
    theirs = kept.head.split(b"\n")[1:-1]
    if declared == theirs:
        return True
    # Most lines are the same, and there may be very many.
    differ = set(declared).symmetric_difference(theirs)
    ours = [line[1:].split() for line in declared if line in differ]
    if len(set(declared)) < len(declared) or any(len(words) < 2 for words in ours):
        return False
    own = [words[0] for words in ours if words[0] not in policies]
    was = {line[1:].split()[0] for line in theirs if line in differ} - policies.keys()
    return sorted(own) == sorted(was) and all(
        policy in (b"-", policies.get(chain, policy)) for chain, policy, *_ in ours
    )


class _Making:
    def __init__(
        self,
        current: Generation,
        kept: Lines,
        lines: Lines,
        differ: list[Hunk],
        order: array[int] | None,
    ) -> None:
        self.current = current
        self.kept = kept
        self.lines = lines
        self.hunks = differ
        if order is None:
            order = array("I", range(FIRST_RULE, FIRST_RULE + current.rules))
        self.order = order
        self.gone = [line for hunk in differ for line in hunk.gone]
        self.come = [line for hunk in differ for line in hunk.come]

    def sources(self, origin: array[int]) -> list[int]:
        """Give for each line that comes the one among those that go which it was, or NONE."""
        gone = (hunk.old + at for hunk in self.hunks for at in range(len(hunk.gone)))
        place = {number: index for index, number in enumerate(gone)}
        place[NEW] = NONE
        return [
            place[origin[hunk.new + at]] for hunk in self.hunks for at in range(len(hunk.come))
        ]

    def change(self, pairing: Callable[..., list[int]]) -> Change | None:
        """Make the change; `pairing` says which lines that come were which that go."""
        went, came = self._read(self.gone), self._read(self.come)
        if went is None or came is None or not self._tracks_as_before(went, came):
            return None
        counters = [at for hunk in self.hunks for at in self._of(hunk.old, len(hunk.gone))]
        source = pairing(self.gone, self.come, went, came)
        free = list(self.current.free)
        free += range(self.current.unused, self.current.counters_per_cpu)
        fresh = free[: source.count(NONE)]
        if len(fresh) < source.count(NONE):
            return None
        new = iter(fresh)
        theirs = [next(new) if at == NONE else counters[at] for at in source]
        order = spliced(self.order, self.hunks, theirs)
        left = set(counters) - set(theirs)
        unused = max([self.current.unused, *(counter + 1 for counter in fresh)])
        return Change(
            self.lines,
            order,
            tuple(self.hunks),
            tuple(Removed(*where, at) for where, at in zip(went, counters, strict=True)),
            tuple(self._added(came, order)),
            tuple(fresh),
            dict.fromkeys(fresh, (0, 0)),
            tuple(sorted({*self.current.free, *left}.difference(fresh))),
            unused,
        )

    def _of(self, line: int, count: int) -> array[int]:
        return self.order[line : line + count]

    # Chains and rules of some lines; None if any does more than append one rule.
    def _read(self, lines: list[bytes]) -> list[tuple[str, Rule]] | None:
        parser = RuleParser(self.current.family, "filter", _Chains(self.kept))
        found = [self._rule(parser, line) for line in lines]
        read = [each for each in found if each is not None]
        return read if len(read) == len(found) else None

    def _rule(self, parser: RuleParser, line: bytes) -> tuple[str, Rule] | None:
        text = line.decode("utf-8", "surrogateescape")
        try:
            command = parser.parse_line(text, Span("", 1, 1, len(text) + 1, text))
        except SourceError:
            return None
        if command is None or command.letter != "A" or len(command.rules) != 1:
            return None
        if not self.kept.has_chain(command.chain) or not starts_plainly(line, command.chain):
            return None
        return command.chain, command.rules[0]

    # Whether connections are to be tracked if they are now.
    def _tracks_as_before(
        self, went: list[tuple[str, Rule]], came: list[tuple[str, Rule]]
    ) -> bool:
        if any(_trackers(rule) for _, rule in came):
            return self.current.needs_conntrack
        gone = {name for _, rule in went for name in _trackers(rule)}
        return not gone or any(map(self._stays, gone))

    # Whether a rule with a match that tracks is among the new ones; if not among the first few
    # lines that look so, it is better told by compiling.
    def _stays(self, match: str) -> bool:
        lines = itertools.islice(self._with(b" -m %b " % encode(match)), _FEW)
        read = self._read(list(lines)) or []
        return any(_trackers(rule) for _, rule in read)

    def _with(self, part: bytes) -> Iterator[bytes]:
        text = self.lines.text
        at = self.lines.start
        while (at := text.find(part, at)) >= 0:
            end = text.index(b"\n", at)
            yield text[text.rindex(b"\n", 0, at) + 1 : end]
            at = end

    def _added(self, came: list[tuple[str, Rule]], order: array[int]) -> Iterator[Added]:
        rules = iter(came)
        for hunk in self.hunks:
            offset = hunk.offset
            for number, line in enumerate(hunk.come, hunk.new):
                chain, rule = next(rules)
                before = self._before(chain, number, offset)
                after = None if before is None else order[before]
                yield Added(chain, rule, order[number], after)
                offset += len(line) + 1

    # The number of the last line of a chain before a line, which is at some place in the text.
    def _before(self, chain: str, number: int, place: int) -> int | None:
        body = self.lines.body
        # The head ends with a newline, too.
        text, first, last = body.text, body.start - 1, body.start + place
        starts = (b"\n" + _START % encode(chain) + end for end in (b" ", b"\n"))
        at = max(text.rfind(start, first, last) for start in starts)
        return None if at < 0 else number - body.number(place, since=at + 1 - body.start)


class _Chains:
    """The chains of a kept text."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.lines.has_chain(name)


# Lines first, as when counters are carried over (carry.py), then what they mean.
def _paired(
    gone: list[bytes],
    come: list[bytes],
    went: list[tuple[str, Rule]],
    came: list[tuple[str, Rule]],
) -> list[int]:
    source = pair(gone, come)
    left, without = left_over(source, len(gone))
    by_meaning = pair([went[index] for index in left], [came[index] for index in without])
    for index, found in zip(without, by_meaning, strict=True):
        if found != NONE:
            source[index] = left[found]
    return source


def starts_plainly(line: bytes, chain: str) -> bool:
    """Whether a rule's line starts with the chain it is in, as iptables-save writes that."""
    start = _START % encode(chain)
    return line == start or line.startswith(start + b" ")


def _trackers(rule: Rule) -> list[str]:
    return [match.NAME for match in rule.matches if match.TRACKS]
