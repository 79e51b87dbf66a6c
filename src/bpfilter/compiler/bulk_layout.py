"""Where the cells of a large table lie, and what its indexes are built of: shape by shape.

Cells of a chain that is searched, and of one that is not:

    rules before any the index helps to find          rules, one after the other
    FIND                                              RETURN, or the policy
    rules, each: what its record has not checked, the action; a FIND that goes on behind
        it, unless it ends the search
    RETURN, or the policy

"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.cells import CELL_BYTES, Op
from bpfilter.compiler.counters import COUNTER_FIRST, COUNTER_NONE
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.build import Index, IndexBuilder
from bpfilter.compiler.index.kinds import Kinds
from bpfilter.compiler.index.layout import ORDER_NONE, VIEWS, KeyWords
from bpfilter.compiler.index.rows import Rows, joined
from bpfilter.compiler.index.search import (
    BIT_NUMBERS,
    VERDICT_COUNTER,
    ChainIndex,
    Search,
    verdict,
)
from bpfilter.compiler.keys import RowsBuilder, choose_words, column
from bpfilter.compiler.lower import HOOK_CELLS, MAX_CELLS
from bpfilter.compiler.shapes import Box, Parts, Pattern, Recorded, box, pattern
from bpfilter.compiler.views import VIEW_NUMBERS, place_guards
from bpfilter.dataclass import dataclass
from bpfilter.errors import BuildError
from bpfilter.plan import fields
from bpfilter.rules.bulk import BulkTable
from bpfilter.rules.check import is_unconditional
from bpfilter.rules.model import Hook, Verdict

Ints = NDArray[np.int64]

CELL = np.dtype(
    [("op", "u1"), ("slot", "u1"), ("jump", "u2"), ("mask", "u4"), ("lo", "u4"), ("hi", "u4")]
)
assert CELL.itemsize == CELL_BYTES

#: Chains with fewer rules are evaluated one rule after the other.
MIN_SEARCHED = 24
#: No more chains than this are searched, the largest: each index takes its time to build.
MAX_SEARCHED = 256
#: Rules at the start of a chain that the index could not tell apart stay in front of it.
MAX_IN_FRONT = 8
#: Calls within calls that the estimate of a chain's packets follows.
MAX_LEVELS = 16
#: How far apart the orders of neighbours are, so that rules fit between.
ORDER_STEP = 1 << 10

ACCEPT, DROP = Verdict("ACCEPT"), Verdict("DROP")


@dataclass(frozen=True, slots=True)
class LaidOut:
    """Cells and indexes as bytes; `search` is None without any index."""

    cells: bytes
    index: bytes
    search: Search | None
    chains: tuple[ChainIndex, ...]


NO_PATTERN = Pattern((), (), 0, 0, 0, 0)


class BulkLayout:
    """Lays out the chains that hooks lead to. `reached` are their indexes, base chains first.

    None of them is searched if the frame has no room for that.
    """

    def __init__(
        self,
        bulk: BulkTable,
        shapes: Sequence[Parts],
        reached: Sequence[int],
        frame: Frame,
        counters: int,
    ) -> None:
        self.bulk = bulk
        self.counters = counters  # of all CPUs
        self.family = bulk.family
        self.shapes = shapes
        self.frame = frame
        self.reached = reached
        self.live = live_rows(bulk)
        self.chain_of = np.repeat(np.arange(len(bulk.chains)), np.diff(bulk.starts))
        laid_out = np.zeros(len(bulk.chains), bool)
        laid_out[list(reached)] = True
        self.is_live = laid_out[self.chain_of] & (np.arange(len(bulk)) < self.live[self.chain_of])
        self.searched, self.recorded = self._choose() if frame.searches else ([], None)
        used = set(bulk.shape[self.is_live].tolist())
        # Programs do not read what only rules ask that no packet gets to.
        self.patterns = [
            pattern(parts, frame, self.family, self.recorded) if number in used else NO_PATTERN
            for number, parts in enumerate(shapes)
        ]
        self.boxes = [
            self._boxes(parts) if number in used else [] for number, parts in enumerate(shapes)
        ]
        self.front = {chain: self._front(chain) for chain in self.searched}
        self.is_found = np.zeros(len(bulk), bool)
        for chain, front in self.front.items():
            self.is_found[front : self.live[chain]] = True
        self._place()

    def _choose(self) -> tuple[list[int], Recorded | None]:
        sizes = self.live - self.bulk.starts[:-1]
        large = [chain for chain in self.reached if sizes[chain] >= MIN_SEARCHED]
        large.sort(key=lambda chain: -int(sizes[chain]))
        chosen = np.zeros(len(self.bulk.chains), bool)
        chosen[large[:MAX_SEARCHED]] = True
        which = np.flatnonzero(self.is_live & chosen[self.chain_of])
        recorded = choose_words(self.bulk, self.shapes, self._by_shape(which), self.frame)
        return (large[:MAX_SEARCHED] if recorded else []), recorded

    # Rows, shape by shape.
    def _by_shape(self, rows: Ints) -> list[Ints]:
        order = np.argsort(self.bulk.shape[rows], kind="stable")
        sorted_rows = rows[order]
        bounds = np.searchsorted(self.bulk.shape[sorted_rows], np.arange(len(self.shapes) + 1))
        return [sorted_rows[a:b] for a, b in pairwise(bounds)]

    def _boxes(self, parts: Parts) -> list[Box | None]:
        if self.recorded is None:
            return []
        return [box(parts, view, self.family, self.recorded) for view in VIEW_NUMBERS]

    # The first row that is searched for: one whose key words the index can make use of.
    def _front(self, chain: int) -> int:
        start, end = int(self.bulk.starts[chain]), int(self.live[chain])
        for row in range(start, min(start + MAX_IN_FRONT, end)):
            seen = self.boxes[self.bulk.shape[row]][0]
            if seen is not None and any(test.field is not fields.PROTO for test in seen.seen):
                return row
        return min(start + MAX_IN_FRONT, end)

    def _place(self) -> None:
        # Cells of a row, and where they start; -1 for rows no packet gets to.
        whole = np.array([self._is_whole(number) for number in range(len(self.shapes))], bool)
        goes_on = np.array([not parts.is_terminal for parts in self.shapes], bool)
        size = np.array([len(each.cells) for each in self.patterns], np.int64)
        shape = self.bulk.shape
        self.is_whole = self.is_found & whole[shape]
        self.has_find = self.is_found & (~self.is_whole | goes_on[shape])
        length = np.where(self.is_whole, 1, size[shape]) + self.has_find
        length[~self.is_live] = 0
        before = np.concatenate(([0], np.cumsum(length)))
        self.chain_start = np.full(len(self.bulk.chains), -1, np.int64)
        self.chain_end = np.full(len(self.bulk.chains), -1, np.int64)
        self.start = np.full(len(self.bulk), -1, np.int64)
        here = HOOK_CELLS
        for chain in self.reached:
            first, last = int(self.bulk.starts[chain]), int(self.bulk.starts[chain + 1])
            self.chain_start[chain] = here
            self.start[first:last] = here - before[first] + before[first:last]
            if chain in self.front:
                self.start[self.front[chain] : last] += 1
                here += 1
            here += int(before[last] - before[first])
            self.chain_end[chain] = here
            here += 1
            if here > MAX_CELLS:
                raise BuildError(f"the rules need more than {MAX_CELLS} cells")
        self.number = here

    def _is_whole(self, number: int) -> bool:
        if not self.boxes[number]:
            return False
        normal = self.boxes[number][0]
        return normal is not None and normal.whole

    def run(self) -> LaidOut:
        blob = Blob()
        bit_numbers = blob.append_bytes(BIT_NUMBERS)
        self.descriptors: dict[int, int] = {}
        self.kinds = Kinds(self._key_words())
        views = {chain: self._views(chain) for chain in self.searched}
        if self.recorded is None or not views:
            return LaidOut(self._cells().tobytes(), b"", None, ())
        self.kinds.number([rows for each in views.values() for rows, _ in each])
        builder = self._builder(views, blob)
        chains = tuple(self._index(builder, chain, views[chain]) for chain in self.searched)
        cells = self._cells()
        self.kinds.write(blob)
        blob.reserve(max(1 << 16, blob.size // 8))
        index = bytes(blob.to_bytes())
        places = self.frame.places
        search = Search(
            size=len(index),
            counters=self.counters,
            forms=blob.forms.offset,
            kinds=blob.kinds.offset,
            bit_numbers=bit_numbers,
            keys=self.recorded.keys,
            compared=self.recorded.compared,
            sport=places.get((fields.SPORT.name, 0)),
            dport=places.get((fields.DPORT.name, 0)),
            proto=places.get((fields.PROTO.name, 0)),
            guards=place_guards(self.frame, self.family),
            tuples=builder.tuples,
        )
        return LaidOut(cells.tobytes(), index, search, chains)

    # Indexes

    # A chain's rows in each view, and the views that have the same ones.
    def _views(self, chain: int) -> list[tuple[Rows, list[int]]]:
        rows = np.arange(self.front[chain], int(self.live[chain]))
        by_shape = [
            (number, which) for number, which in enumerate(self._by_shape(rows)) if len(which)
        ]
        alike: dict[tuple[Box | None, ...], list[int]] = {}
        for view in range(VIEWS):
            number = view if view in VIEW_NUMBERS else 0
            told_apart = tuple(self.boxes[shape][number] for shape, _ in by_shape)
            alike.setdefault(told_apart, []).append(view)
        return [(self._rows_of(chain, views[0], by_shape), views) for views in alike.values()]

    # Tuples are chosen for the packets that no guard fails for: nearly all.
    def _builder(self, views: dict[int, list[tuple[Rows, list[int]]]], blob: Blob) -> IndexBuilder:
        normal = [each[0][0] for each in views.values()]
        sizes = np.array([len(rows) for rows in normal])
        chain = np.repeat(np.arange(len(normal)), sizes)
        each = self._traffic()[list(views)] / np.maximum(sizes, 1)
        traffic = np.repeat(each, sizes)
        traffic /= traffic.mean() if len(traffic) else 1
        return IndexBuilder(joined(normal), chain, traffic, self._key_words(), blob)

    # Packets that come to each chain, of those at a hook, if all rules that lead on get alike.
    def _traffic(self) -> NDArray[np.float64]:
        jumps = np.flatnonzero(self.is_live & (self.bulk.jump >= 0))
        caller, called = self.chain_of[jumps], self.bulk.jump[jumps]
        sizes = np.maximum(self.live - self.bulk.starts[:-1], 1)
        at_hooks = np.array([chain.policy is not None for chain in self.bulk.chains], float)
        traffic = at_hooks
        for _ in range(MAX_LEVELS):
            following = np.bincount(called, (traffic / sizes)[caller], len(sizes)) + at_hooks
            if np.allclose(following, traffic):
                break
            traffic = following
        return traffic

    def _index(
        self, builder: IndexBuilder, chain: int, views: list[tuple[Rows, list[int]]]
    ) -> ChainIndex:
        blob = builder.blob
        size = blob.size
        made: dict[int, Index] = {}
        for rows, alike in views:
            index = builder.build(rows, int(self.chain_end[chain]))
            made |= dict.fromkeys(alike, index)
        descriptors = b"".join(made[view].descriptor for view in range(VIEWS))
        self.descriptors[chain] = blob.append_bytes(descriptors)
        first, last = self.front[chain], int(self.live[chain])
        return ChainIndex(
            chain=self.bulk.chains[chain].name,
            rules=last - first,
            in_front=first - int(self.bulk.starts[chain]),
            tuples=made[0].tuples,
            steps=max(index.steps for index in made.values()),
            bytes=blob.size - size,
        )

    def _rows_of(self, chain: int, view: int, by_shape: list[tuple[int, Ints]]) -> Rows:
        recorded = self.recorded
        assert recorded is not None
        builder = RowsBuilder(self.bulk, recorded, self.front[chain], self.orders(chain))
        for number, rows in by_shape:
            seen = self.boxes[number][view]
            if seen is not None:
                each = self.patterns[number]
                pc, hides = self._continues(number, each, seen, view, rows)
                builder.add(self.shapes[number], seen, rows, pc, hides)
        return builder.rows()

    def _key_words(self) -> KeyWords:
        return self.recorded.words() if self.recorded else KeyWords(0)

    def orders(self, chain: int) -> Ints:
        """Give the orders of a chain's rows that are searched for."""
        number = int(self.live[chain]) - self.front[chain]
        step = max(1, min(ORDER_STEP, (ORDER_NONE - 1) // (number + 1)))
        return np.arange(1, number + 1) * step

    # Where evaluation of a row goes on once its record matched, and if that is the end of it.
    def _continues(
        self, number: int, each: Pattern, seen: Box, view: int, rows: Ints
    ) -> tuple[Ints | int, bool]:
        if seen.dooms and seen.whole:
            return verdict(False, COUNTER_NONE), True
        if self._is_whole(number):
            return self._acts(number, rows), seen.whole and self.shapes[number].is_terminal
        skip = each.skip if view == 0 else each.skip_to_guard
        return self.start[rows] + skip, False

    # A verdict the search can give itself, else where the cell of the action is.
    def _acts(self, number: int, rows: Ints) -> Ints:
        target = self.shapes[number].shape.rule.target
        counters = self._counters(rows)
        if target not in (ACCEPT, DROP) or counters[-1] > VERDICT_COUNTER:
            return self.start[rows]
        return counters + verdict(target == ACCEPT, 0)

    # Cells

    def _cells(self) -> NDArray[np.void]:
        cells = np.zeros(self.number, CELL)
        live = np.flatnonzero(self.is_live)
        for number, rows in enumerate(self._by_shape(live)):
            for whole in (False, True):
                which = rows[self.is_whole[rows] == whole]
                if len(which):
                    self._rows(cells, number, which, whole)
        self._finds(cells)
        policies = [chain for chain in self.bulk.chains if chain.policy is not None]
        for chain in self.reached:
            end = int(self.chain_end[chain])
            policy = self.bulk.chains[chain].policy
            if policy is None:
                cells[end] = (Op.RETURN, 0, 0, 0, COUNTER_NONE, 0)
                continue
            op = Op.ACCEPT if policy == "ACCEPT" else Op.DROP
            counter = COUNTER_FIRST + policies.index(self.bulk.chains[chain])
            cells[end] = (op, 0, 0, 0, counter, 0)
            hook = Hook[self.bulk.chains[chain].name]
            cells[hook] = (Op.ENTRY, 0, 0, 0, self.chain_start[chain], end)
        return cells

    def _rows(self, cells: NDArray[np.void], number: int, rows: Ints, whole: bool) -> None:
        parts, each = self.shapes[number], self.patterns[number]
        start = self.start[rows]
        at = 0 if whole else each.counts
        if not whole:
            for index, cell in enumerate(each.cells):
                cells[start + index] = (
                    cell.op, cell.slot, cell.jump, cell.mask, cell.lo, cell.hi
                )  # fmt: skip
            for index, test in each.tests:
                low, high, mask = column(self.bulk, parts, test, rows)
                place = self.frame.places[test.field.name, test.word]
                full, shift = np.uint32((1 << place.bits) - 1), np.uint32(place.shift)
                where = start + index
                cells["lo"][where] = np.asarray(low).astype(np.uint32) << shift
                cells["hi"][where] = np.asarray(high).astype(np.uint32) << shift
                cells["mask"][where] = (np.asarray(mask).astype(np.uint32) & full) << shift
        else:
            act = each.cells[each.acts]
            cells[start] = (act.op, 0, 0, 0, 0, 0)
        cells["lo"][start + at] = self._counters(rows)
        if self.bulk.jump[rows[0]] >= 0:
            to = start + (0 if whole else each.acts)
            cells["hi"][to] = self.chain_start[self.bulk.jump[rows]]

    def _counters(self, rows: Ints) -> Ints:
        policies = sum(chain.policy is not None for chain in self.bulk.chains)
        return COUNTER_FIRST + policies + rows

    def _finds(self, cells: NDArray[np.void]) -> None:
        for chain in self.searched:
            first, last = self.front[chain], int(self.live[chain])
            descriptors = self.descriptors[chain]
            cells[self.start[first] - 1] = (Op.FIND, 0, 0, 0, 0, descriptors)
            rows = np.arange(first, last)
            on = self.has_find[rows]
            after = np.where(
                rows + 1 < last, self.start[np.minimum(rows + 1, last - 1)], self.chain_end[chain]
            )
            where = after[on] - 1
            cells[where] = (Op.FIND, 0, 0, 0, 0, descriptors)
            cells["lo"][where] = self.orders(chain)[on] + 1


def live_rows(bulk: BulkTable) -> Ints:
    """Give, for each chain, the row behind the last that packets get to (mark_source_chains)."""
    ends = np.array(
        [
            isinstance(shape.rule.target, Verdict) and is_unconditional(shape.rule)
            for shape in bulk.shapes
        ],
        bool,
    )
    live = bulk.starts[1:].copy()
    if ends.any():
        last = np.flatnonzero(ends[bulk.shape])
        chain = np.searchsorted(bulk.starts, last, "right") - 1
        np.minimum.at(live, chain, last + 1)
    return live
