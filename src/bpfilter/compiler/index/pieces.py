"""What is left to ask of rows in runs that are being cut.

A *piece* is a row in one run. What the key and cuts have settled is not asked any more: a
word's mask loses the bits of a window, a range is cut to the part a child has, and becomes
that of all ports where it covers this. A piece that asks nothing and hides what is behind
it is the last of its kind in the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index.rows import U32, Bools, Ints, KeyWords, Rows, classify
from bpfilter.dataclass import dataclass
from bpfilter.rules.distinct import distinct

ALL_PORTS = 0xFFFF
PORT_BITS = 16


@dataclass(eq=False, slots=True)
class Pieces:
    """Pieces of runs: run r is `start[r]:start[r + 1]`, in ascending order of rows.

    `kind` is equal for pieces with equal keys and equal tests of what no cut can see.
    `slot[r]` is the number of the entry that leads to a run, `root[r]` the long run that it
    was cut from. `open[half][r]` are the low bits of a port that cuts left open.
    """

    row: Ints
    run: Ints
    kind: Ints
    hides: Bools
    values: list[U32]  # by key word
    masks: list[U32]
    low: list[Ints]  # by half of the word of ports: source, destination
    high: list[Ints]
    start: Ints
    slot: Ints
    root: Ints
    open: list[Ints]

    @property
    def count(self) -> Ints:
        return np.diff(self.start)

    @property
    def runs(self) -> int:
        return len(self.slot)

    def is_any(self, half: int) -> Bools:
        whole = (self.low[half] == 0) & (self.high[half] == ALL_PORTS)
        return np.asarray(whole, np.bool_)

    def asks(self) -> Ints:
        """Count the words and halves of which a piece asks something."""
        asks = [mask != 0 for mask in self.masks] + [~self.is_any(half) for half in (0, 1)]
        return np.asarray(np.count_nonzero(asks, axis=0), np.int64)

    def kept(self, keep: Bools) -> Pieces:
        """Give some of the pieces; runs stay, even without any."""
        start = np.concatenate([[0], np.cumsum(keep)])[self.start]
        return self._picked(np.flatnonzero(keep), start, self.slot, self.root, self.open)

    def of_runs(self, which: Bools) -> Pieces:
        """Give some of the runs."""
        count = self.count
        start = np.concatenate([[0], np.cumsum(count[which])])
        pieces = np.flatnonzero(np.repeat(which, count))
        left = [bits[which] for bits in self.open]
        return self._picked(pieces, start, self.slot[which], self.root[which], left)

    def _picked(
        self, which: Ints, start: Ints, slot: Ints, root: Ints, left: list[Ints]
    ) -> Pieces:
        return Pieces(
            row=self.row[which],
            run=np.repeat(np.arange(len(slot)), np.diff(start)),
            kind=self.kind[which],
            hides=self.hides[which],
            values=[column[which] for column in self.values],
            masks=[column[which] for column in self.masks],
            low=[column[which] for column in self.low],
            high=[column[which] for column in self.high],
            start=start,
            slot=slot,
            root=root,
            open=left,
        )

    def into(self, which: Ints, run: Ints, slot: Ints, root: Ints, left: list[Ints]) -> Pieces:
        """Give copies of pieces in new runs; `run` ascends."""
        start = np.searchsorted(run, np.arange(len(slot) + 1))
        return self._picked(which, start, slot, root, left)


def pieces_of(rows: Rows, words: KeyWords, of: U32, row: Ints, start: Ints) -> Pieces:
    """Make pieces of the rows in long runs; `of`, masks of their tuples, are settled."""
    masks = [rows.masks[row, k] & ~of[:, k] for k in range(words.count)]
    ports = np.zeros(len(row), np.uint32) if words.ports is None else of[:, words.ports]
    low, high = [], []
    for bounds, shift in ((rows.sports[row], 16), (rows.dports[row], 0)):
        half = np.uint32(ALL_PORTS << shift)
        settled = (ports & half) == half
        low.append(np.where(settled, 0, bounds[:, 0]).astype(np.int64))
        high.append(np.where(settled, ALL_PORTS, bounds[:, 1]).astype(np.int64))
        if words.ports is not None:
            # ranges tell of ports what masks do
            exact = bounds[:, 0] == bounds[:, 1]
            masks[words.ports] &= ~np.where(exact, half, np.uint32(0))
    runs = len(start) - 1
    return Pieces(
        row=row,
        run=np.repeat(np.arange(runs), np.diff(start)),
        kind=_kinds(rows, row, of),
        hides=rows.hides[row],
        values=[rows.values[row, k] for k in range(words.count)],
        masks=masks,
        low=low,
        high=high,
        start=start,
        slot=np.arange(runs),
        root=np.arange(runs),
        open=[np.full(runs, PORT_BITS), np.full(runs, PORT_BITS)],
    )


def _kinds(rows: Rows, row: Ints, of: U32) -> Ints:
    columns: list[NDArray[Any]] = [*(rows.values[row] & of).T, *of.T, rows.proto[row]]
    return classify(columns)[1]


def prune(pieces: Pieces) -> tuple[Pieces, Ints]:
    """Leave out pieces that no packet gets to; give also the rows that see to it."""
    if not pieces.hides.any():
        return pieces, pieces.row[:0]
    pieces, first = _behind_clear(pieces)
    pieces, second = _repeated(pieces)
    return pieces, np.concatenate([first, second])


def _behind_clear(pieces: Pieces) -> tuple[Pieces, Ints]:
    # behind one of the same kind that asks nothing
    clear = np.flatnonzero(pieces.hides & (pieces.asks() == 0))
    if not len(clear):
        return pieces, clear
    group = pieces.run * (int(pieces.kind.max()) + 1) + pieces.kind
    groups, first = np.unique(group[clear], return_index=True)
    place = np.searchsorted(groups, group).clip(max=len(groups) - 1)
    hider = clear[first][place]
    hidden = (groups[place] == group) & (hider < np.arange(len(group)))
    return pieces.kept(~hidden), distinct(pieces.row[hider[hidden]])


def _repeated(pieces: Pieces) -> tuple[Pieces, Ints]:
    # equal to an earlier one that hides it
    columns: list[NDArray[Any]] = [
        pieces.run,
        pieces.kind,
        *pieces.masks,
        *pieces.low,
        *pieces.high,
    ]
    columns += [value & mask for value, mask in zip(pieces.values, pieces.masks, strict=True)]
    _, group = classify(columns)
    number = np.arange(len(group))
    hider = np.full(len(group), len(group))
    np.minimum.at(hider, group, np.where(pieces.hides, number, len(group)))
    hidden = hider[group] < number
    return pieces.kept(~hidden), distinct(pieces.row[hider[group][hidden]])
