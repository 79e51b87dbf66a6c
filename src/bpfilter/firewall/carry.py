"""Counters carried over from one ruleset to the next: rules that stayed keep theirs.

A rule stayed if an equal one is in the chain of the same name; of several equal ones the
first keeps the first one's counters, and so on. Lines that are equal byte for byte are
equal rules, which settles nearly all of a large ruleset without reading any of it; only
lines that are left over on both sides, and may mean the same by their traits (traits.py), are
compared in one spelling (spelling.py).
"""

from __future__ import annotations

from array import array
from collections import Counter

from bpfilter.dataclass import dataclass
from bpfilter.firewall import counters
from bpfilter.firewall.counters import PAIR_BYTES
from bpfilter.firewall.lines import Lines
from bpfilter.firewall.pairing import NONE, left_over, pair
from bpfilter.firewall.spelling import Speller
from bpfilter.firewall.stretch import common
from bpfilter.rules.model import Family

#: So many lines are looked for in the text; more are, in a set of all its lines.
_FEW = 8


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a ruleset: its text, and the trait of each line if that is known."""

    lines: Lines
    traits: array[int] | None = None

    def speller(self, family: Family) -> Speller:
        return Speller(family, set(self.lines.chains()))


def carry(old: Kept, new: Kept, values: bytes, written: bytes, family: Family) -> bytes:
    """Give the counters of the new lines: those of equal old ones, else the written.

    `values` are pairs (counters.py), one for each line of `old`, `written` for `new`.
    """
    before, after = old.lines.body, new.lines.body
    start, end = common(before, after)
    gone = before.lines(start, len(before) - end)
    come = after.lines(start, len(after) - end)
    if end and _shifted(gone, come, before.part(len(before) - end, len(before))):
        gone, come = before.lines(start, len(before)), after.lines(start, len(after))
    source = pair(gone, come)
    same = before.number(start)
    left, without = _alike(old, new, *left_over(source, len(gone)), same)
    theirs, ours = old.speller(family), new.speller(family)
    spelt = [theirs.spell(gone[index]) for index in left]
    for index, found in enumerate(pair(spelt, [ours.spell(come[index]) for index in without])):
        if found != NONE and spelt[found] is not None:
            source[without[index]] = left[found]
    first, last = PAIR_BYTES * same, PAIR_BYTES * (same + len(gone))
    own = written[first : first + PAIR_BYTES * len(come)]
    if own != bytes(len(own)):
        new_at = [NONE if found != NONE else line for line, found in enumerate(source)]
        own = counters.pick(own, new_at)
    kept = counters.pick(values[first:last], source)
    return values[:first] + counters.add(kept, own) + values[last:]


# Which of the lines that are left over could mean the same; they count from line `same` on.
def _alike(
    old: Kept, new: Kept, left: list[int], without: list[int], same: int
) -> tuple[list[int], list[int]]:
    theirs, ours = old.traits, new.traits
    if not (left and without):
        return [], []
    if theirs is None or ours is None:
        return left, without
    both = {theirs[same + index] for index in left} & {ours[same + index] for index in without}
    return (
        [index for index in left if theirs[same + index] in both],
        [index for index in without if ours[same + index] in both],
    )


# Whether lines went or came that are also in what is the same at the end: of several equal
# ones the first has gone, so that others take over.
def _shifted(gone: list[bytes], come: list[bytes], end: bytes) -> bool:
    if len(gone) + len(come) <= _FEW:
        end = b"\n" + end
        return any(b"\n%b\n" % line in end for line in {*gone, *come})
    gone_of, come_of = Counter(gone), Counter(come)
    uneven = (gone_of - come_of).keys() | (come_of - gone_of).keys()
    return not uneven.isdisjoint(end.split(b"\n"))
