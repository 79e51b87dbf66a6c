"""A few bits of one word by which runs may be cut, and what would come of it.

A *window* is made for every run at once: of one field, at each run's own bits. Every piece
reaches an interval of children, so how many each child gets follows from where intervals
start and end.

Pieces that hide others are treated apart, or thousands of overlapping ranges could not be
cut. Of those that ask of this field alone, a child needs the first to cover it whole, and
what comes before. So one is copied to at most two children that it covers in part, and to
those where it is that first one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index.pieces import ALL_PORTS, Pieces
from bpfilter.compiler.index.rows import Bools, Ints
from bpfilter.dataclass import dataclass
from bpfilter.rules.distinct import distinct

_NEVER = 1 << 40
#: Fewer pieces that hide others are not worth the treatment.
_SIMPLE_MIN = 16


@dataclass(frozen=True, slots=True)
class Field:
    """A key word, or of the word of ports one half: 0 source, 1 destination."""

    word: int
    half: int | None = None


@dataclass(eq=False, slots=True)
class Window:
    """Bits of a field for each run; those it cannot cut have none.

    Children are numbered through all runs from `offset[run]` on. A piece reaches children
    `low` to `high`, of those the ones that have the `tested` bits of `low`, and covers
    `covers_low` to `covers_high`, if that is any. `simple` are pieces to be treated apart; for
    each of their kinds, `first` has a place for each child from `base[piece]` on: the piece
    that first covers it.
    """

    field: Field
    shift: Ints
    bits: Ints
    offset: Ints
    low: Ints
    high: Ints
    tested: Ints
    covers_low: Ints
    covers_high: Ints
    simple: Ints
    rest: Ints
    base: Ints
    first: Ints
    at: Ints

    def counts(self) -> Ints:
        """Give the number of pieces that each child would get, at most."""
        total = int(self.offset[-1])
        start, end = (self.at + self.low)[self.rest], (self.at + self.high)[self.rest]
        change = np.bincount(start, minlength=total + 1)
        change -= np.bincount(end + 1, minlength=total + 1)
        child, _ = self._simple_pairs()
        return np.cumsum(change)[:total] + np.bincount(child, minlength=total)

    def pairs(self, chosen: Bools) -> tuple[Ints, Ints]:
        """Give child and piece of every copy, for the runs that are chosen."""
        rest = self._of(chosen, self.rest)
        wide = (self.high - self.low)[rest] + 1
        number = np.arange(wide.sum()) - np.repeat(np.cumsum(wide) - wide, wide)
        copied = np.repeat(rest, wide)
        reached = self.low[copied] + number
        # A child whose packets a piece does not match must not get it: it would hide others.
        fits = ((reached ^ self.low[copied]) & self.tested[copied]) == 0
        child, piece = self._simple_pairs()
        ours = self._is_of(chosen, piece)
        return (
            np.concatenate([(self.at[copied] + reached)[fits], child[ours]]),
            np.concatenate([copied[fits], piece[ours]]),
        )

    def hiders(self, chosen: Bools) -> Ints:
        """Give the pieces for which others are not copied, in the runs that are chosen."""
        place, piece = self._partial()
        before = self.first[place]
        covering = self.simple[self.covers_low[self.simple] <= self.covers_high[self.simple]]
        size = len(self.first) + 1
        change = np.bincount((self.base + self.covers_low)[covering], minlength=size)
        change -= np.bincount((self.base + self.covers_high)[covering] + 1, minlength=size)
        shared = np.flatnonzero(np.cumsum(change)[:-1] > 1)
        return self._of(
            chosen, distinct(np.concatenate((before[before < piece], self.first[shared])))
        )

    def _is_of(self, chosen: Bools, pieces: Ints) -> Bools:
        run_of = np.repeat(np.arange(len(self.bits)), np.diff(self.offset))
        return np.asarray(chosen[run_of[self.at[pieces]]], np.bool_)

    def _of(self, chosen: Bools, pieces: Ints) -> Ints:
        return pieces[self._is_of(chosen, pieces)]

    # Simple pieces that cover a child in part, behind the place of the child.
    def _partial(self) -> tuple[Ints, Ints]:
        simple = self.simple
        low, high = self.low[simple], self.high[simple]
        in_low = low < self.covers_low[simple]
        in_high = (high > self.covers_high[simple]) & ~(in_low & (low == high))
        piece = np.concatenate([simple[in_low], simple[in_high]])
        child = np.concatenate([low[in_low], high[in_high]])
        return self.base[piece] + child, piece

    def _simple_pairs(self) -> tuple[Ints, Ints]:
        place, piece = self._partial()
        seen = self.first[place] > piece
        covered = np.flatnonzero(self.first < _NEVER)
        piece = np.concatenate([piece[seen], self.first[covered]])
        place = np.concatenate([place[seen], covered])
        return self.at[piece] + place - self.base[piece], piece


def word_window(pieces: Pieces, word: int, width: Ints) -> Window:
    """Look at the highest bits in which pieces of a run differ."""
    mask = pieces.masks[word].astype(np.int64)
    value = pieces.values[word].astype(np.int64) & mask
    ones = np.bitwise_or.reduceat(value, pieces.start[:-1])
    zeros = np.bitwise_or.reduceat(mask & ~value, pieces.start[:-1])
    top = bit_length(ones & zeros)
    bits = np.minimum(width, top)
    shift = top - bits
    window, by = ((np.int64(1) << bits) - 1)[pieces.run], shift[pieces.run]
    tested = mask >> by & window
    low = value >> by & tested
    free = window & ~tested
    high = low | free
    is_interval = (free & (free + 1)) == 0
    covers = is_interval & (mask & ~(window << by) == 0)
    reached = (low, high, tested)
    return _window(pieces, Field(word), (shift, bits), reached, (low, high), covers)


def port_window(pieces: Pieces, word: int, half: int, width: Ints) -> Window:
    """Look at the highest bits in which ranges of a run differ, but for those of all ports."""
    low, high = pieces.low[half], pieces.high[half]
    partial = ~pieces.is_any(half)
    least = np.minimum.reduceat(np.where(partial, low, ALL_PORTS), pieces.start[:-1])
    most = np.maximum.reduceat(np.where(partial, high, 0), pieces.start[:-1])
    top = np.where(least < most, bit_length(least ^ most), 0)
    bits = np.minimum(width, top)
    shift = top - bits
    window, by = ((np.int64(1) << bits) - 1)[pieces.run], shift[pieces.run]
    below = (np.int64(1) << by) - 1
    from_child = np.where(partial, low >> by & window, 0)
    to_child = np.where(partial, high >> by & window, window)
    covered = (from_child + (low & below != 0), to_child - (high & below != below))
    # Where the bits above the window are open, what covers a child is not all its packets.
    is_known = (top == pieces.open[half])[pieces.run]
    covers = partial | is_known
    reached = (from_child, to_child, np.zeros_like(from_child))
    return _window(pieces, Field(word, half), (shift, bits), reached, covered, covers)


def _window(
    pieces: Pieces,
    field: Field,
    place: tuple[Ints, Ints],
    reached: tuple[Ints, Ints, Ints],
    covered: tuple[Ints, Ints],
    can_cover: Bools,
) -> Window:
    bits = place[1]
    sizes = np.where(bits > 0, np.int64(1) << bits, 0)
    offset = np.concatenate([[0], np.cumsum(sizes)])
    own = pieces.masks[field.word] != 0 if field.half is None else ~pieces.is_any(field.half)
    simple = pieces.hides & can_cover & (pieces.asks() - own == 0) & (bits > 0)[pieces.run]
    simple_at, base, size = _kinds(pieces, np.flatnonzero(simple), sizes)
    simple[:] = False
    simple[simple_at] = True
    covering = np.flatnonzero(simple & (covered[0] <= covered[1]))
    first = _first_over(
        (base + covered[0])[covering], (base + covered[1])[covering], covering, size
    )
    rest = np.flatnonzero(~simple & (bits > 0)[pieces.run])
    return Window(
        field, *place, offset, *reached, *covered, simple_at, rest, base, first, offset[pieces.run]
    )


def _kinds(pieces: Pieces, simple: Ints, sizes: Ints) -> tuple[Ints, Ints, int]:
    # room for the children of each run, for each kind of piece in it that has enough pieces
    base = np.zeros(len(pieces.row), np.int64)
    if not len(simple):
        return simple, base, 0
    group = pieces.run[simple] * (int(pieces.kind.max()) + 1) + pieces.kind[simple]
    _, first, number, count = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    enough = count >= _SIMPLE_MIN
    room = np.where(enough, sizes[pieces.run[simple[first]]], 0)
    base[simple] = (np.cumsum(room) - room)[number]
    return simple[enough[number]], base, int(room.sum())


def _first_over(low: Ints, high: Ints, number: Ints, size: int) -> Ints:
    """Give the least number of the intervals over each place.

    An interval is two of a power of two, which are halved from the widest down.
    """
    if not len(low):
        return np.full(size, _NEVER)
    level = bit_length(high - low + 1) - 1
    least = np.full((int(level.max()) + 1, size), _NEVER)
    np.minimum.at(least, (level, low), number)
    np.minimum.at(least, (level, high - (np.int64(1) << level) + 1), number)
    for upper in range(len(least) - 1, 0, -1):
        half = 1 << (upper - 1)
        below = least[upper - 1]
        np.minimum(below, least[upper], out=below)
        np.minimum(below[half:], least[upper, :-half], out=below[half:])
    return np.asarray(least[0], np.int64)


def bit_length(numbers: NDArray[Any]) -> Ints:
    """Give how many bits numbers below 2**32 have."""
    _, exponent = np.frexp(numbers.astype(np.float64))
    return np.asarray(exponent, np.int64)
