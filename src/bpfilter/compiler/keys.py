"""Which packet words an index hashes, and a chain's rules as the rows it is built of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.cells import Place
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.layout import COMPARED_MAX, KEY_WORDS_MAX
from bpfilter.compiler.index.rows import Rows
from bpfilter.compiler.shapes import Box, Parts, Recorded
from bpfilter.plan import fields
from bpfilter.plan.nodes import Test
from bpfilter.rules.bulk import BulkTable
from bpfilter.rules.distinct import distinct
from bpfilter.rules.shapes import Slot

Ints = NDArray[np.int64]

#: A word that fewer rules test exactly is not worth hashing.
MIN_RULES = 8

_COLUMNS = {
    Slot.SOURCE: ("source", "source_mask"),
    Slot.DESTINATION: ("destination", "destination_mask"),
}


def column(bulk: BulkTable, parts: Parts, test: Test, rows: Ints) -> tuple[Any, Any, Any]:
    """Give lowest, highest and mask of a test for some rows: arrays, or its own numbers."""
    slot = parts.slot(test)
    if slot is None:
        return test.lo, test.hi, test.mask
    if slot in _COLUMNS:
        value, mask = (getattr(bulk, name)[rows, test.word] for name in _COLUMNS[slot])
        return value, value, mask
    ports = bulk.sports if slot is Slot.SPORTS else bulk.dports
    return ports[rows, 0], ports[rows, 1], test.mask


def choose_words(
    bulk: BulkTable, shapes: Sequence[Parts], rows: Sequence[Ints], frame: Frame
) -> Recorded | None:
    """Choose key words and the two that records compare, by what most rules test exactly.

    `rows` are, for each shape, the rows that are to be found by an index. None if there is
    no word worth it.
    """
    tested: Counter[int] = Counter()
    apart: Counter[int] = Counter()  # how well a word tells rules apart
    for parts, which in zip(shapes, rows, strict=True):
        if len(which) == 0:
            continue
        for test in parts.parts:
            if not isinstance(test, Test) or test.field in _NOT_HASHED:
                continue
            place = frame.places[test.field.name, test.word]
            low, high, _ = column(bulk, parts, test, which)
            exact = np.broadcast_to(np.asarray(low == high), which.shape)
            number = int(np.count_nonzero(exact))
            if number == 0:
                continue
            tested[place.slot] += number
            values = distinct(low) if isinstance(low, np.ndarray) else [low]
            apart[place.slot] += min(number, len(values))
    keys = [slot for slot, number in tested.most_common(KEY_WORDS_MAX) if number >= MIN_RULES]
    if not keys:
        return None
    compared = [slot for slot, _ in apart.most_common() if slot in keys][:COMPARED_MAX]
    return Recorded(tuple(sorted(keys)), tuple(compared), frame.places)


# A record asks for the protocol itself, and it tells few rules apart.
_NOT_HASHED = (fields.PROTO,)


class RowsBuilder:
    """Fills the columns of one chain in one view, shape by shape."""

    def __init__(self, bulk: BulkTable, recorded: Recorded, first: int, orders: Ints) -> None:
        self.bulk = bulk
        self.recorded = recorded
        self.first = first
        number, words = len(orders), len(recorded.keys)
        self.present = np.zeros(number, bool)
        self.pc = np.zeros(number, np.uint32)
        self.hides = np.zeros(number, bool)
        self.order = orders.astype(np.uint32)
        self.masks = np.zeros((number, words), np.uint32)
        self.values = np.zeros((number, words), np.uint32)
        self.ports = np.zeros((2, number, 2), np.uint16)  # source, destination
        self.ports[:, :, 1] = 0xFFFF
        self.proto = np.zeros(number, np.uint8)

    def add(self, parts: Parts, box: Box, rows: Ints, pc: Any, hides: bool) -> None:
        """Add rows of a shape; `pc` is where evaluation of each goes on."""
        at = rows - self.first
        self.present[at] = True
        self.pc[at] = pc
        self.hides[at] = hides
        for test in box.seen:
            low, high, mask = column(self.bulk, parts, test, rows)
            place = self.recorded.place(test)
            if test.field is fields.PROTO:
                self.proto[at] = low
                continue
            if test.field in (fields.SPORT, fields.DPORT):
                ports = self.ports[int(test.field is fields.DPORT)]
                ports[at, 0], ports[at, 1] = low, high
            self._key(at, place, low, high, mask)

    def _key(self, at: Ints, place: Place, low: Any, high: Any, mask: Any) -> None:
        full = np.uint32((1 << place.bits) - 1)
        shift = np.uint32(place.shift)
        exact = np.asarray(low == high)
        masks = np.where(exact, np.asarray(mask).astype(np.uint32) & full, np.uint32(0)) << shift
        values = np.where(exact, np.asarray(low).astype(np.uint32), np.uint32(0)) << shift
        if place.slot in self.recorded.keys:
            key = self.recorded.keys.index(place.slot)
            self.masks[at, key] |= masks
            self.values[at, key] |= values

    def rows(self) -> Rows:
        """Give the rows that were added."""
        here = self.present
        return Rows(
            order=self.order[here],
            pc=self.pc[here],
            masks=self.masks[here],
            values=self.values[here],
            sports=self.ports[0, here],
            dports=self.ports[1, here],
            proto=self.proto[here],
            hides=self.hides[here],
            form=np.zeros(int(here.sum()), np.uint16),
            kind=np.zeros(int(here.sum()), np.uint32),
        )
