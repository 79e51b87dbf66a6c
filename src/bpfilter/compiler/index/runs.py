"""Write runs: records one behind the other, and the entries that lead to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.cuts import Forest
from bpfilter.compiler.index.rows import U32, Ints, Rows

RECORD = np.dtype(
    {
        "names": ["order", "pc", "a_value", "b_value"],
        "formats": ["u4", "u4", "u4", "u4"],
        "itemsize": layout.RECORD_BYTES,
    }
)
CUT = np.dtype(
    {
        "names": ["word", "shift", "bits", "base"],
        "formats": ["u1", "u1", "u1", "u4"],
        "offsets": [0, 1, 2, 4],
        "itemsize": layout.UNIT,
    }
)
assert RECORD.itemsize == layout.RECORD.size


def records_of(rows: Rows) -> NDArray[Any]:
    """Give the record of each row."""
    out = np.empty(len(rows), RECORD)
    kind = rows.kind.astype(np.uint32)
    out["order"] = rows.order << np.uint32(8) | kind >> np.uint32(8)
    out["pc"] = rows.pc << np.uint32(8) | kind & np.uint32(0xFF)
    out["a_value"], out["b_value"] = rows.a_value, rows.b_value
    return out


def write_runs(records: NDArray[Any], start: Ints, row: Ints, blob: Blob) -> U32:
    """Write runs of rows, run r of `row[start[r]:start[r + 1]]`; give their entries.

    A run equal to the one before is not written again.
    """
    count = np.diff(start)
    again = _repeats(start, row)
    is_long = count > layout.RUN_MAX
    size = np.where(again, 0, count + is_long)
    end = np.cumsum(size)
    stream = np.empty(int(end[-1]) if len(end) else 0, RECORD)
    header = (end - size)[is_long & ~again]
    where = np.ones(len(stream), np.bool_)
    where[header] = False
    stream[where] = records[row[np.repeat(~again, count)]]
    stream[header] = np.zeros(1, RECORD)
    long = count[is_long & ~again]
    stream["order"][header] = long
    stream["pc"][header] = 1 << np.log2(np.maximum(long, 1)).astype(np.int64)
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


def write_forest(forest: Forest, records: NDArray[Any], blob: Blob) -> U32:
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
    unit = blob.append(cuts) // layout.UNIT + np.arange(len(cuts))
    slots[nodes.slot] = entries(unit, np.array(layout.ENTRY_CUT))
    blob.put(tables, slots[roots:])
    return slots[:roots]


def entries(unit: Ints, count: Ints) -> U32:
    """Pack entries."""
    return (unit << 8 | count).astype(np.uint32)
