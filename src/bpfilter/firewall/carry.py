"""Counters carried over from one ruleset to the next: rules that stayed keep theirs.

A rule stayed if an equal one is in the chain of the same name; of several equal ones the
first keeps the first one's counters, and so on. Lines that are equal byte for byte are
equal rules, which settles nearly all of a large ruleset without reading any of it; only
lines that are left over on both sides are read as rules and compared by what they mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bpfilter.errors import SourceError
from bpfilter.firewall.counters import PAIR_BYTES
from bpfilter.firewall.lines import Lines
from bpfilter.rules.model import Family, Rule
from bpfilter.rules.options import RuleParser
from bpfilter.source import Span

#: Of a line that has no equal.
NONE = -1
#: So many lines are looked for in the text; more are, in a set of all its lines.
_FEW = 8


def carry(old: Lines, new: Lines, values: bytes, written: bytes, family: Family) -> bytes:
    """Give the counters of the new lines: those of equal old ones, else the written.

    `values` are pairs (counters.py), one for each line of `old`, `written` for `new`.
    """
    start, end = common(old.body, new.body)
    gone, come = _between(old, start, end), _between(new, start, end)
    if end and _shifted(gone, come, old.body[len(old.body) - end :]):
        gone, come = _between(old, start, 0), _between(new, start, 0)
    source = pair(gone, come)
    _pair_by_meaning(source, _Side(gone, old, family), _Side(come, new, family))
    first = PAIR_BYTES * old.body.count(b"\n", 0, start)
    theirs = [
        values[first + PAIR_BYTES * index : first + PAIR_BYTES * (index + 1)]
        if index != NONE
        else written[at : at + PAIR_BYTES]
        for at, index in zip(range(first, len(written), PAIR_BYTES), source, strict=False)
    ]
    return values[:first] + b"".join(theirs) + values[first + PAIR_BYTES * len(gone) :]


def common(old: bytes, new: bytes) -> tuple[int, int]:
    """Give how many bytes, whole lines, are the same at the start, and how many at the end."""
    if old == new:
        return len(old), 0
    start = old.rfind(b"\n", 0, _same_start(old, new)) + 1
    end = _same_end(old, new, min(len(old), len(new)) - start)
    if end and not (_is_line(old, len(old) - end) and _is_line(new, len(new) - end)):
        end = len(old) - 1 - old.find(b"\n", len(old) - end)
    return start, end


def pair(old: Sequence[bytes], new: Sequence[bytes]) -> list[int]:
    """Give for each new line the index of the old one that is the same, or NONE: of several,
    the first for the first, and so on."""
    last = len(old) - 1
    waiting = dict(zip(reversed(old), range(last, -1, -1), strict=True))
    if len(waiting) == len(old):
        return [waiting.pop(line, NONE) for line in new]
    several: dict[bytes, list[int]] = {}
    for index in range(last, -1, -1):
        several.setdefault(old[index], []).append(index)
    nobody: list[int] = []
    return [indexes.pop() if (indexes := several.get(line, nobody)) else NONE for line in new]


# By halving: comparing bytes is fast, looking at one after the other is not.
def _same_start(old: bytes, new: bytes) -> int:
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _same_end(old: bytes, new: bytes, most: int) -> int:
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if old[len(old) - middle : len(old) - low] == new[len(new) - middle : len(new) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _is_line(body: bytes, at: int) -> bool:
    return at == 0 or body[at - 1] == ord("\n")


def _between(lines: Lines, start: int, end: int) -> list[bytes]:
    return lines.body[start : len(lines.body) - end].split(b"\n")[:-1]


# Whether lines went or came that are also in what is the same at the end: of several equal
# ones the first has gone, so that others take over.
def _shifted(gone: list[bytes], come: list[bytes], end: bytes) -> bool:
    if len(gone) + len(come) <= _FEW:
        end = b"\n" + end
        return any(b"\n%b\n" % line in end for line in {*gone, *come})
    gone_of, come_of = Counter(gone), Counter(come)
    uneven = (gone_of - come_of).keys() | (come_of - gone_of).keys()
    return not uneven.isdisjoint(end.split(b"\n"))


class _Side:
    """Lines of a ruleset, to be read as rules."""

    def __init__(self, lines: list[bytes], of: Lines, family: Family) -> None:
        self.lines = lines
        self.of = of
        self.family = family

    def rules(self, indexes: list[int]) -> list[tuple[str, Rule] | None]:
        """Read some lines: chain and rule, or None if there is no such rule any more."""
        if not indexes:
            return []
        parser = RuleParser(self.family, "filter", set(self.of.chains()))
        return [self._rule(parser, self.lines[index]) for index in indexes]

    def _rule(self, parser: RuleParser, line: bytes) -> tuple[str, Rule] | None:
        text = line.decode("utf-8", "surrogateescape")
        try:
            command = parser.parse_line(text, Span("rules in force", 1, 1, len(text) + 1, text))
        except SourceError:  # written by a version that knew more
            return None
        return None if command is None else (command.chain, command.rules[0])


def _pair_by_meaning(source: list[int], old: _Side, new: _Side) -> None:
    come = [index for index, found in enumerate(source) if found == NONE]
    gone = sorted(set(range(len(old.lines))) - set(source))
    if not (come and gone):
        return
    waiting: dict[tuple[str, Rule], list[int]] = {}
    for index, meaning in zip(reversed(gone), reversed(old.rules(gone)), strict=True):
        if meaning is not None:
            waiting.setdefault(meaning, []).append(index)
    for index, meaning in zip(come, new.rules(come), strict=True):
        indexes = None if meaning is None else waiting.get(meaning)
        if indexes:
            source[index] = indexes.pop()
