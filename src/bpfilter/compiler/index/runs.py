"""Write runs: records one behind the other, and the entries that lead to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.cuts import Forest
from bpfilter.compiler.index.rows import U32, U64, Ints, KeyWords, Rows

#: Where the order is in the first word of a record.
ORDER_AT = 8


def records_of(rows: Rows, words: KeyWords) -> U32:
    """Give the record of each row, as u32s."""
    out = np.empty((len(rows), words.record_bytes // 4), np.uint32)
    out[:, 2] = rows.kind << np.uint32(16) | rows.form
    out[:, 0] = rows.order << np.uint32(ORDER_AT) | rows.kind >> np.uint32(16)
    out[:, 1] = rows.pc << np.uint32(8)
    for number, word in enumerate(words.compared):
        out[:, 3 + number] = rows.values[:, word]
    return out


def write_runs(records: U32, start: Ints, row: Ints, blob: Blob) -> U64:
    """Write runs of rows, run r of `row[start[r]:start[r + 1]]`; give their entries, without
    filters.

    A run equal to the one before is not written again.
    """
    count = np.diff(start)
    again = _repeats(start, row)
    is_long = count > layout.RUN_MAX
    width, head = records.shape[1], layout.LONG_RUN.size // 4
    size = np.where(again, 0, count * width + head * is_long)  # u32s
    end = np.cumsum(size)
    stream = records.take(row[np.repeat(~again, count)], axis=0).reshape(-1)
    headed = is_long & ~again
    if headed.any():
        long = count[headed]
        headers = np.column_stack([long, 1 << np.log2(long).astype(np.int64)])
        # np.insert counts in what was there before
        before = (end - size)[headed] - head * np.arange(len(long))
        stream = np.insert(stream, np.repeat(before, head), headers.reshape(-1))
    unit = blob.append(stream) // layout.UNIT + end - size
    # the run before one that is not written starts where the last that is does
    unit = unit[np.maximum.accumulate(np.where(again, 0, np.arange(len(count))))]
    first = records[row[start[:-1]], 0] >> np.uint32(ORDER_AT + layout.FIRST_SHIFT)
    return entries(unit, np.where(is_long, layout.ENTRY_LONG, count), first)


def _repeats(start: Ints, row: Ints) -> NDArray[np.bool_]:
    """Tell which runs are equal to the one before."""
    count = np.diff(start)
    before = np.concatenate([[0], count])[:-1]
    candidate = count == before
    which = np.repeat(candidate, count)
    place = np.flatnonzero(which)
    differs = row[place] != row[place - np.repeat(before, count)[place]]
    runs = np.repeat(np.arange(len(count)), count)[place]
    candidate[runs[differs]] = False
    return np.asarray(candidate, np.bool_)


def write_forest(forest: Forest, records: U32, words: KeyWords, blob: Blob) -> U64:
    """Write leaves and children's entries; give the entries of the runs that were cut."""
    nodes = forest.nodes
    order = np.argsort(forest.slot)
    count = np.diff(forest.start)[order]
    start = np.concatenate([[0], np.cumsum(count)])
    place = np.arange(start[-1]) + np.repeat(forest.start[order] - start[:-1], count)
    slots = np.zeros(forest.slots, np.uint64)
    slots[forest.slot[order]] = write_runs(records, start, forest.row[place], blob)
    roots = len(forest.longest)
    tables = blob.allocate(layout.ENTRY_BYTES * (forest.slots - roots))
    unit = (tables + layout.ENTRY_BYTES * (nodes.child - roots)) // layout.UNIT
    first = _first_behind(forest, slots)
    slots[nodes.slot] = entries(unit, np.array(layout.ENTRY_CUT), first) | _cuts(forest, words)
    blob.put(tables, slots[roots:])
    return slots[:roots]


def _first_behind(forest: Forest, slots: U64) -> U32:
    # of each cut; a cut is behind MAX_CUTS - 1 others at most
    nodes = forest.nodes
    nothing = np.uint32(layout.FIRST_MASK)
    first = (slots >> np.uint64(layout.FIRST_AT)).astype(np.uint32) & nothing
    first[slots == 0] = nothing
    first = np.append(first, nothing)
    ends = np.column_stack([nodes.child, nodes.child + (np.int64(1) << nodes.bits)]).reshape(-1)
    for _ in range(layout.MAX_CUTS if len(ends) else 0):
        first[nodes.slot] = np.minimum.reduceat(first, ends)[::2]
    return first[nodes.slot]


def _cuts(forest: Forest, words: KeyWords) -> U64:
    nodes = forest.nodes
    slot = np.array(words.slots, np.int64)[nodes.word]
    bits = nodes.bits << layout.CUT_SHIFT_BITS | nodes.shift
    return (bits << layout.CUT_SLOT_BITS | slot).astype(np.uint64) << np.uint64(layout.UPPER_AT)


def entries(unit: Ints, count: Ints, first: U32) -> U64:
    """Pack entries, without their upper parts."""
    low = (unit << layout.COUNT_BITS | count).astype(np.uint64)
    return low | first.astype(np.uint64) << np.uint64(layout.FIRST_AT)
