"""Counters carried over from one ruleset to the next: rules that stayed keep theirs.

A rule stayed if an equal one is in the chain of the same name; of several equal ones the
first keeps the first one's counters, and so on. Lines that are equal byte for byte are
equal rules, which settles nearly all of a large ruleset without reading any of it; only
lines that are left over on both sides are compared in one spelling (spelling.py).
"""

from __future__ import annotations

from collections import Counter

from bpfilter.firewall import counters
from bpfilter.firewall.counters import PAIR_BYTES
from bpfilter.firewall.lines import Lines
from bpfilter.firewall.pairing import NONE, left_over, pair
from bpfilter.firewall.spelling import Speller
from bpfilter.firewall.stretch import common
from bpfilter.rules.model import Family

#: So many lines are looked for in the text; more are, in a set of all its lines.
_FEW = 8


def carry(old: Lines, new: Lines, values: bytes, written: bytes, family: Family) -> bytes:
    """Give the counters of the new lines: those of equal old ones, else the written.

    `values` are pairs (counters.py), one for each line of `old`, `written` for `new`.
    """
    before, after = old.body, new.body
    start, end = common(before, after)
    gone = before.lines(start, len(before) - end)
    come = after.lines(start, len(after) - end)
    if end and _shifted(gone, come, before.part(len(before) - end, len(before))):
        gone, come = before.lines(start, len(before)), after.lines(start, len(after))
    source = pair(gone, come)
    _pair_by_meaning(source, gone, come, _speller(old, family), _speller(new, family))
    first = PAIR_BYTES * before.number(start)
    last = first + PAIR_BYTES * len(gone)
    own = written[first : first + PAIR_BYTES * len(come)]
    if own != bytes(len(own)):
        new_at = [NONE if found != NONE else line for line, found in enumerate(source)]
        own = counters.pick(own, new_at)
    return (
        values[:first]
        + counters.add(counters.pick(values[first:last], source), own)
        + values[last:]
    )


def _speller(lines: Lines, family: Family) -> Speller:
    return Speller(family, set(lines.chains()))


# Whether lines went or came that are also in what is the same at the end: of several equal
# ones the first has gone, so that others take over.
def _shifted(gone: list[bytes], come: list[bytes], end: bytes) -> bool:
    if len(gone) + len(come) <= _FEW:
        end = b"\n" + end
        return any(b"\n%b\n" % line in end for line in {*gone, *come})
    gone_of, come_of = Counter(gone), Counter(come)
    uneven = (gone_of - come_of).keys() | (come_of - gone_of).keys()
    return not uneven.isdisjoint(end.split(b"\n"))


# Gives new lines without an equal one an old one that means the same.
def _pair_by_meaning(
    source: list[int], gone: list[bytes], come: list[bytes], old: Speller, new: Speller
) -> None:
    left, without = left_over(source, len(gone))
    if not (left and without):
        return
    theirs = [old.spell(gone[index]) for index in left]
    ours = [new.spell(come[index]) for index in without]
    for index, found in zip(without, pair(theirs, ours), strict=True):
        if found != NONE and theirs[found] is not None:
            source[index] = left[found]
