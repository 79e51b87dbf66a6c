"""Which lines are the same but for what was cut out of them.

A line's key is the line with a mark, a control character, in place of each value. Keys
are compared exactly, but few are ever made: lines whose values stand at the same places
of their keys are compared with the first of them as they lie in the text, eight bytes
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bpfilter.dataclass import dataclass
from bpfilter.rules.lexing import Flags, Places
from bpfilter.rules.shapes import Slot

#: Counters in front of a rule; they are no slot of a shape, as every rule has counters.
COUNTERS_MARK = 0x0E
#: An address has the mark of its slot plus how many words, less one, its mask reaches into.
MARKS: dict[Slot, int] = {
    Slot.CHAIN: 0x0F,
    Slot.TARGET: 0x10,
    Slot.SPORTS: 0x11,
    Slot.DPORTS: 0x12,
    Slot.COMMENT: 0x13,
    Slot.SOURCE: 0x14,
    Slot.DESTINATION: 0x18,
}
_SLOTS: dict[int, Slot] = {
    mark + more: slot
    for slot, mark in MARKS.items()
    for more in range(4 if slot in (Slot.SOURCE, Slot.DESTINATION) else 1)
}

#: So few lines are better compared by their keys.
_FEW = 64
#: Lines of one layout are compared with so many different ones of it, then by their keys.
_ROUNDS = 16

_NOWHERE = np.iinfo(np.int64).max
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Values of one kind: in which rows, where their bytes start and end, and the mark."""

    row: Places
    at: Places
    end: Places
    mark: NDArray[np.uint8]


def slots_in(key: bytes) -> frozenset[Slot]:
    """Name the slots of a key."""
    return frozenset(slot for mark, slot in _SLOTS.items() if mark in key)


def has_counters(key: bytes) -> bool:
    """Tell whether counters were cut out."""
    return COUNTERS_MARK in key


def eights_of(text: bytes) -> NDArray[np.uint64]:
    """Give a view of the eight bytes from each place on, the first byte lowest."""
    return np.ndarray((len(text) - 7,), "<u8", text, strides=(1,))


class Keys:
    """The keys of lines, which start and stop at these places of a text."""

    def __init__(self, text: bytes, starts: Places, stops: Places, found: Sequence[Found]) -> None:
        self.text = text
        self.starts, self.stops = starts, stops
        self.eights = eights_of(text)
        shape = len(found), len(starts)
        self.at = np.full(shape, _NOWHERE, np.int64)
        self.end = np.zeros(shape, np.int64)
        self.mark = np.zeros(shape, np.uint8)
        for kind, each in enumerate(found):
            self.at[kind, each.row] = each.at
            self.end[kind, each.row] = each.end
            self.mark[kind, each.row] = each.mark

    def key(self, row: int, without: frozenset[Slot] = frozenset()) -> bytes:
        """Give the key of a row; of these slots the values stay in."""
        pieces: list[bytes] = []
        place = int(self.starts[row])
        columns = self.at[:, row], self.end[:, row], self.mark[:, row]
        for at, end, mark in sorted(zip(*(column.tolist() for column in columns), strict=True)):
            if mark and _SLOTS.get(mark) not in without:
                pieces += self.text[place:at], bytes((mark,))
                place = end
        pieces.append(self.text[place : int(self.stops[row])])
        return b"".join(pieces)

    def alike(self) -> Iterator[Places]:
        """Give all rows, those together that are known to have the same key; ascending."""
        layout = self._layouts()
        code = np.zeros(len(self.starts), np.uint64)
        for part in layout:
            code = code * _FACTOR + part.astype(np.uint64)
        order = np.argsort(code, kind="stable")
        bounds = np.flatnonzero(np.diff(code[order])) + 1
        for rows in np.split(order, bounds):
            for _ in range(_ROUNDS):
                if len(rows) < _FEW:
                    break
                same = np.ones(len(rows), np.bool_)
                for part in layout:
                    same &= part[rows] == part[rows[0]]
                same[same] = self._are_same(rows[same])
                yield rows[same]
                rows = rows[~same]
            yield from rows[:, None]

    # For each kind of value where it is in the key, and its mark; how long the key is.
    def _layouts(self) -> list[NDArray[np.int64]]:
        cut = np.where(self.mark > 0, self.end - self.at - 1, 0)
        parts = [self.stops - self.starts - cut.sum(axis=0)]
        for at, mark in zip(self.at, self.mark, strict=True):
            before = np.where(self.at < at, cut, 0).sum(axis=0)
            parts.append(np.where(mark > 0, (at - self.starts - before) << 8 | mark, 0))
        return parts

    # Of rows with one layout: those whose keys are the first one's.
    def _are_same(self, rows: Places) -> Flags:
        same = np.ones(len(rows), np.bool_)
        first = int(rows[0])
        place = self.starts[rows]
        for kind in np.argsort(self.at[:, first]).tolist():
            if self.mark[kind, first]:
                same &= self._equal(place, int(self.at[kind, first] - place[0]))
                place = self.end[kind, rows]
        return same & self._equal(place, int(self.stops[first] - place[0]))

    # Whether so many bytes are the same at all places as at the first.
    def _equal(self, places: Places, length: int) -> Flags:
        same = np.ones(len(places), np.bool_)
        for done in range(0, length, 8):
            shift = np.uint64(max(0, 64 - 8 * (length - done)))
            words = self.eights[places + done] << shift
            same &= words == words[0]
        return same
