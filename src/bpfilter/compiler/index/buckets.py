"""Rows into buckets: the entries of tuples, and the runs of records that they lead to."""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index.rows import U64, Ints, Rows, hash_rows
from bpfilter.compiler.index.tuples import Tuples
from bpfilter.dataclass import dataclass

#: Entries of a tuple for each of its keys, at least.
ROOM = 1.5


@dataclass(eq=False, slots=True)
class Buckets:
    """Rows by bucket. Entries of all tuples are one array; those of t are from `base[t]` on.

    Run r is `row[start[r]:start[r + 1]]`, in ascending order; `entry[r]` is its entry.
    """

    base: Ints  # [T], and the end of all
    bits: Ints  # [T]
    row: Ints
    start: Ints
    entry: Ints

    @property
    def count(self) -> Ints:
        return np.diff(self.start)


def sort_rows(rows: Rows, tuples: Tuples) -> Buckets:
    """Put rows into buckets, some two for each key of a tuple."""
    masks = tuples.masks[0] if len(tuples) == 1 else tuples.masks[tuples.of]
    hashes = hash_rows(rows.values, masks)
    count = np.bincount(tuples.of, minlength=len(tuples))
    bits = np.maximum(np.ceil(np.log2(np.maximum(count, 1) * ROOM)), 1).astype(np.int64)
    place, base = _places(hashes, tuples, bits)
    used = np.zeros(base[-1], np.bool_)
    used[place] = True
    keys = np.add.reduceat(used.astype(np.int64), base[:-1])
    fewer = table_bits(keys, bits, ROOM)
    if (fewer < bits).any():
        bits = fewer
        place, base = _places(hashes, tuples, bits)
    row = _sorted(place)
    place = place[row]
    start = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
    return Buckets(base, bits, row, np.append(start, len(row)), place[start])


def table_bits(used: Ints, bits: Ints, room: float) -> Ints:
    """Give the size of tables, as bits, for as many values as use `used` of `2**bits` places."""
    size = np.exp2(bits)
    values = -size * np.log1p(-np.minimum(used / size, 0.98))
    wanted = np.ceil(np.log2(np.maximum(values * room, 2))).astype(np.int64)
    return np.minimum(bits, wanted)


def _places(hashes: U64, tuples: Tuples, bits: Ints) -> tuple[Ints, Ints]:
    # the entry of each row, and where those of each tuple start
    base = np.concatenate([[0], np.cumsum(np.int64(1) << bits)])
    shift = (64 - bits).astype(np.uint64)
    if len(bits) == 1:
        return (hashes >> shift[0]).astype(np.int64), base
    return (hashes >> shift[tuples.of]).astype(np.int64) + base[tuples.of], base


def _sorted(place: Ints) -> Ints:
    # rows by place and then by number: both in one word, which sorts fastest
    packed = place.astype(np.uint64) << np.uint64(32) | np.arange(len(place), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
