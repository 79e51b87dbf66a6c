"""Rows into buckets: the entries of tables, and the runs of records that they lead to."""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index.rows import U32, U64, Ints, Rows, hash_rows
from bpfilter.dataclass import dataclass

#: Entries of a table for each of its keys, at least: an entry that others share costs a packet
#: with another key a visit. Where there is one table only, packets have its keys, and small
#: tables are better.
ROOM, ROOM_ALONE = 1.5, 0.75


@dataclass(eq=False, slots=True)
class Buckets:
    """Rows by bucket. Entries of all tables are one array; those of t are from `base[t]` on,
    none if t has no rows, and `2**bits[t]` else.

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


def sort_rows(rows: Rows, of: Ints, masks: U32) -> Buckets:
    """Put rows, of which each is in a tuple, into buckets, some two for each key of a tuple."""
    hashes = hash_rows(rows.values, masks[0] if len(masks) == 1 else masks[of])
    count = np.bincount(of, minlength=len(masks))
    room = ROOM if np.count_nonzero(count) > 1 else ROOM_ALONE
    bits = np.maximum(np.ceil(np.log2(np.maximum(count, 1) * room)), 1).astype(np.int64)
    place, base = _places(hashes, of, bits, count)
    used = np.zeros(base[-1] + 1, np.bool_)
    used[place] = True
    keys = np.where(count > 0, np.add.reduceat(used.astype(np.int64), base[:-1]), 0)
    fewer = table_bits(keys, bits, room)
    if (fewer < bits).any():
        bits = fewer
        place, base = _places(hashes, of, bits, count)
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


def _places(hashes: U64, of: Ints, bits: Ints, count: Ints) -> tuple[Ints, Ints]:
    # the entry of each row, and where those of each table start
    sizes = np.where(count > 0, np.int64(1) << bits, 0)
    base = np.concatenate([[0], np.cumsum(sizes)])
    shift = (64 - bits).astype(np.uint64)
    if len(bits) == 1:
        return (hashes >> shift[0]).astype(np.int64), base
    return (hashes >> shift[of]).astype(np.int64) + base[of], base


def _sorted(place: Ints) -> Ints:
    # rows by place and then by number: both in one word, which sorts fastest
    packed = place.astype(np.uint64) << np.uint64(32) | np.arange(len(place), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
