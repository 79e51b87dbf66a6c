"""Filters: which values a few bits of one word have in packets that rows may match.

The window of a tuple is chosen so that of the packets that come to its entries as few as
possible go where they lead. A filter is necessary, never sufficient; any window is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.layout import FILTER_BITS, MULTIPLIERS
from bpfilter.compiler.index.pieces import PORT_BITS
from bpfilter.compiler.index.rows import U16, U32, Ints, KeyWords, Rows, hash_rows
from bpfilter.compiler.index.tuples import Tuples

#: Packets drawn from rows, and pairs of such a packet and a row behind its entry.
PACKETS = 512
PAIRS = 768
#: Windows are tried at every second bit.
_STEP = 2
_VALUES = 1 << FILTER_BITS
_WINDOW = _VALUES - 1
_WORD_BITS = 32
_EVERY = np.uint32((1 << _VALUES) - 1)


def _table() -> U32:
    # the values that a mask and a value of so many bits allow
    mask, value, number = np.ogrid[:_VALUES, :_VALUES, :_VALUES]
    bits = ((number & mask) == (value & mask)) << number
    return np.asarray(bits.sum(axis=2), np.uint32)


_MASKED = _table()


def allowed(rows: Rows, words: KeyWords, which: Ints, word: int, shift: int) -> U16:
    """Give the set of values of a window in packets that some rows may match: bit v is v."""
    by = np.uint32(shift)
    masks = rows.masks[which, word] >> by & np.uint32(_WINDOW)
    values = rows.values[which, word] >> by & np.uint32(_WINDOW)
    out = _MASKED[masks, values]
    if word == words.ports:
        bounds = rows.sports if shift >= PORT_BITS else rows.dports
        ends = bounds[which].astype(np.uint32) >> np.uint32(shift % PORT_BITS)
        span = np.minimum(ends[:, 1] - ends[:, 0], np.uint32(_WINDOW))
        # so many ones, rotated to where the range begins
        ones = (np.uint32(2) << span) - np.uint32(1)
        turned = ones << (ends[:, 0] & np.uint32(_WINDOW))
        out &= (turned | turned >> np.uint32(_VALUES)) & _EVERY
    return np.asarray(out, np.uint16)


def choose_windows(
    rows: Rows, chain: Ints, words: KeyWords, tuples: Tuples
) -> tuple[layout.Tuple, ...]:
    """Choose the window of each tuple, for the rows of some chains."""
    of = tuples.assign(rows)
    packets, chains = _packets(rows, chain)
    windows = _windows(words)
    out = []
    for number, masks in enumerate(tuples.masks):
        pairs = _pairs(rows, chain, np.flatnonzero(of == number), masks, packets, chains)
        best = min(windows, key=lambda window: _passing(rows, words, packets, pairs, window))
        out.append(layout.Tuple(tuple(masks.tolist()), *best))
    return tuple(out)


def _windows(words: KeyWords) -> list[tuple[int, int]]:
    out = []
    for word in range(words.count):
        for shift in range(0, _WORD_BITS - FILTER_BITS + 1, _STEP):
            crosses = word == words.ports and 0 < PORT_BITS - shift < FILTER_BITS
            if not crosses:
                out.append((word, shift))
    return out


def _packets(rows: Rows, chain: Ints) -> tuple[U32, Ints]:
    # a packet within each of some rows: its key words, and the chain it is searched in
    which = np.linspace(0, len(rows) - 1, min(PACKETS, len(rows))).astype(np.int64)
    shape = len(which), rows.masks.shape[1]
    # Hashed numbers are noise enough, and numpy.random takes 10 ms to import.
    numbers = np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint64) * np.uint64(MULTIPLIERS[0])
    noise = (numbers >> np.uint64(32)).astype(np.uint32).reshape(shape)
    return rows.values[which] | noise & ~rows.masks[which], chain[which]


def _pairs(
    rows: Rows, chain: Ints, mine: Ints, masks: U32, packets: U32, chains: Ints
) -> tuple[Ints, Ints]:
    # packets, and rows with the same key: of one entry
    seed = np.uint64(MULTIPLIERS[-1])
    keys = hash_rows(rows.values[mine], masks) + chain[mine].astype(np.uint64) * seed
    order = np.argsort(keys)
    keys = keys[order]
    wanted = hash_rows(packets, masks) + chains.astype(np.uint64) * seed
    first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
    count = last - first
    packet = np.repeat(np.arange(len(packets)), count)
    number = np.arange(len(packet)) - np.repeat(np.cumsum(count) - count, count)
    row = mine[order[np.repeat(first, count) + number]]
    step = max(1, len(packet) // PAIRS)
    return packet[::step], row[::step]


def _passing(
    rows: Rows,
    words: KeyWords,
    packets: U32,
    pairs: tuple[Ints, Ints],
    window: tuple[int, int],
) -> int:
    packet, row = pairs
    word, shift = window
    value = packets[packet, word] >> np.uint32(shift) & np.uint32(_WINDOW)
    return int(np.count_nonzero(allowed(rows, words, row, word, shift) >> value & 1))


def filters(rows: Rows, words: KeyWords, of: Ints, tuples: Sequence[layout.Tuple]) -> U16:
    """Give each row's values of its tuple's window."""
    out = np.zeros(len(rows), np.uint16)
    for number, each in enumerate(tuples):
        mine = np.flatnonzero(of == number)
        if len(mine):
            out[mine] = allowed(rows, words, mine, each.window_word, each.window_shift)
    return out
