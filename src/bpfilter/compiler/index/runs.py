"""Write runs: records one behind the other, and the entries that lead to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.cuts import Forest
from bpfilter.compiler.index.rows import U32, Ints, KeyWords, Rows

CUT = np.dtype(
    {
        "names": ["word", "shift", "bits", "base"],
        "formats": ["u1", "u1", "u1", "u4"],
        "offsets": [0, 1, 2, 4],
        "itemsize": layout.CUT.size,
    }
)


def records_of(rows: Rows, words: KeyWords) -> U32:
    """Give the record of each row, as u32s."""
    kind = rows.kind.astype(np.uint32)
    out = np.empty((len(rows), words.record_bytes // 4), np.uint32)
    out[:, 0] = rows.order << np.uint32(8) | kind >> np.uint32(8)
    out[:, 1] = rows.pc << np.uint32(8) | kind & np.uint32(0xFF)
    for number, word in enumerate(words.compared):
        out[:, 2 + number] = rows.values[:, word]
    return out


def write_runs(records: U32, start: Ints, row: Ints, blob: Blob) -> U32:
    """Write runs of rows, run r of `row[start[r]:start[r + 1]]`; give their entries.

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
    return entries(unit, np.where(is_long, layout.ENTRY_LONG, count))


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


def write_forest(forest: Forest, records: U32, blob: Blob) -> U32:
    """Write leaves, cuts and children's entries; give the entries of the runs that were cut."""
    nodes = forest.nodes
    order = np.argsort(forest.slot)
    count = np.diff(forest.start)[order]
    start = np.concatenate([[0], np.cumsum(count)])
    place = np.arange(start[-1]) + np.repeat(forest.start[order] - start[:-1], count)
    slots = np.zeros(forest.slots, np.uint32)
    slots[forest.slot[order]] = write_runs(records, start, forest.row[place], blob)
    roots = len(forest.longest)
    tables = blob.allocate(4 * (forest.slots - roots))
    cuts = np.zeros(len(nodes.slot), CUT)
    cuts["word"], cuts["shift"], cuts["bits"] = nodes.word, nodes.shift, nodes.bits
    cuts["base"] = tables + 4 * (nodes.child - roots)
    unit = (blob.append(cuts) + layout.CUT.size * np.arange(len(cuts))) // layout.UNIT
    slots[nodes.slot] = entries(unit, np.array(layout.ENTRY_CUT))
    blob.put(tables, slots[roots:])
    return slots[:roots]


def entries(unit: Ints, count: Ints) -> U32:
    """Pack entries."""
    return (unit << layout.COUNT_BITS | count).astype(np.uint32)
