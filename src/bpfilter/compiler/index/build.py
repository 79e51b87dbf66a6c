"""Build the indexes of a table: of each chain, in each view of it."""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.buckets import Buckets, sort_rows
from bpfilter.compiler.index.cuts import RUN, Forest, grow
from bpfilter.compiler.index.filters import choose_windows, filters
from bpfilter.compiler.index.pieces import pieces_of
from bpfilter.compiler.index.rows import U32, U64, Bools, Ints, KeyWords, Rows
from bpfilter.compiler.index.runs import records_of, write_forest, write_runs
from bpfilter.compiler.index.tuples import Floats, choose_tuples
from bpfilter.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    """A built index: the descriptor that leads to it, and figures.

    `tuples` are those it has tables for. `steps` bounds what one search takes: entries gathered,
    cuts and records (walk.py). `records` counts rows with their copies, `bytes` what the index
    takes of the blob, `hidden` rules that no packet gets to.
    """

    descriptor: bytes
    tuples: int
    steps: int
    records: int
    bytes: int
    hidden: int


class IndexBuilder:
    """Builds the indexes of a table's chains, which share their tuples.

    These are chosen for `rows`, of which each is in a chain; `traffic` is choose_tuples'.
    """

    def __init__(
        self, rows: Rows, chain: Ints, traffic: Floats, words: KeyWords, blob: Blob
    ) -> None:
        self.words = words
        self.blob = blob
        self._tuples = choose_tuples(rows, chain, traffic)
        self.tuples = choose_windows(rows, chain, words, self._tuples)

    def build(self, rows: Rows, end_pc: int) -> Index:
        """Append the index of a chain's rows to the blob.

        Raises: BuildError if the blob outgrows what an entry can name.
        """
        if not len(rows):
            return self._nothing(end_pc)
        blob, words = self.blob, self.words
        before = blob.size
        of = self._tuples.assign(rows)
        buckets = sort_rows(rows, of, self._tuples.masks)
        is_long = buckets.count > RUN
        short = np.repeat(~is_long, buckets.count)
        forest = self._grow(rows, of, buckets, is_long)
        records = records_of(rows, words)
        entries = np.zeros(buckets.base[-1], np.uint64)
        start = np.concatenate([[0], np.cumsum(buckets.count[~is_long])])
        entries[buckets.entry[~is_long]] = write_runs(records, start, buckets.row[short], blob)
        entries[buckets.entry[is_long]] = write_forest(forest, records, words, blob)
        is_run = (entries & np.uint64(layout.COUNT_MASK)) != layout.ENTRY_CUT
        every = filters(rows, words, of, self.tuples)[buckets.row]
        upper = np.zeros(len(entries), np.uint64)
        upper[buckets.entry] = np.bitwise_or.reduceat(every, buckets.start[:-1])
        entries[is_run] |= upper[is_run] << np.uint64(layout.UPPER_AT)
        longest = _longest(buckets, is_long, forest)
        hiders = rows.order[forest.hiders]
        descriptor, steps = self._descriptor(buckets, longest, entries, hiders, end_pc)
        seen = np.zeros(len(rows), np.bool_)
        seen[buckets.row[short]] = True
        seen[forest.row] = True
        return Index(
            descriptor=descriptor,
            tuples=int(np.count_nonzero(longest)),
            steps=steps,
            records=int(short.sum()) + len(forest.row),
            bytes=blob.size - before,
            hidden=int(np.count_nonzero(~seen)),
        )

    def _nothing(self, end_pc: int) -> Index:
        at = self._tables(np.zeros((0, 3), np.uint32), np.zeros(0, np.int64))
        return Index(layout.DESCRIPTOR.pack(0, end_pc, at, 0, 0), 0, 0, 0, 0, 0)

    def _grow(self, rows: Rows, of: Ints, buckets: Buckets, is_long: Bools) -> Forest:
        row = buckets.row[np.repeat(is_long, buckets.count)]
        start = np.concatenate([[0], np.cumsum(buckets.count[is_long])])
        masks = self._tuples.masks[of[row]]
        return grow(pieces_of(rows, self.words, masks, row, start), self.words, len(rows))

    def _descriptor(
        self, buckets: Buckets, longest: Ints, entries: U64, hiders: U32, end_pc: int
    ) -> tuple[bytes, int]:
        used = np.flatnonzero(longest)
        at = self.blob.append(entries) + layout.ENTRY_BYTES * buckets.base[used]
        table = np.column_stack([at, 64 - buckets.bits[used], longest[used]])
        tables = self._tables(table.astype(np.uint32), used)
        searched = sum(1 << number for number in used.tolist())
        packed = layout.DESCRIPTOR.pack(
            searched, end_pc, tables, self.blob.append(hiders), len(hiders)
        )
        return packed, layout.gathered(searched, len(self.tuples)) + int(longest.sum())

    # Tables of all tuples: those of some as given, the last for edits to come, others empty.
    def _tables(self, some: U32, used: Ints) -> int:
        out = np.zeros((len(self.tuples), layout.TABLE_BYTES // 4), np.uint32)
        out[:, 0], out[:, 1] = layout.EMPTY, layout.EMPTY_SHIFT
        out[-1, 0] = self.blob.append(np.zeros(2, np.uint64))
        out[used, :3] = some
        return self.blob.append(out)


def _longest(buckets: Buckets, is_long: Bools, forest: Forest) -> Ints:
    # the most steps in a bucket of each tuple; 0 for those without rows
    longest = np.zeros(len(buckets.bits), np.int64)
    of_run = np.searchsorted(buckets.base, buckets.entry, side="right") - 1
    steps = np.where(is_long, 0, buckets.count)
    steps[is_long] = forest.longest
    np.maximum.at(longest, of_run, steps)
    return longest
