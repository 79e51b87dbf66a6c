"""Cut long runs: first by a few bits of one word, then what is still long by others.

All runs are cut at once, level by level. Rows are copied into every child that they reach,
as long as the copies of all runs together stay within bounds; where that would be exceeded,
or no cut is of use, a run stays long.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.pieces import ALL_PORTS, Pieces, prune
from bpfilter.compiler.index.rows import Bools, Ints, KeyWords
from bpfilter.compiler.index.windows import Window, port_window, word_window
from bpfilter.dataclass import dataclass, field
from bpfilter.rules.distinct import distinct

#: A run of more records is cut, if that helps.
RUN = 8
#: Copies that may be added: so many for each row of the chain, and for any chain.
COPIES_PER_ROW = 2.0
COPIES_ANYWAY = 16384
#: One cut makes at most so many copies of a row, on average.
COPIES_MAX = 8
#: Records that a cut must save a packet to be worth a read.
GAIN_MIN = 4.0
#: What an additional copy of each row is worth, in records that a packet visits.
COPY_PRICE = 2.0
#: A child's entry takes as much memory as this share of a record.
ENTRY_SHARE = layout.ENTRY_BYTES / (layout.RECORD_HEAD.size + 4 * layout.COMPARED_MAX)


@dataclass(eq=False, slots=True)
class Nodes:
    """Cuts: number of the entry that leads to each, what it looks at, its first child's."""

    slot: Ints
    word: Ints
    shift: Ints
    bits: Ints
    child: Ints


@dataclass(eq=False, slots=True)
class Forest:
    """Long runs, cut. The first of its `slots` entries are those of the runs themselves.

    Leaf r is `row[start[r]:start[r + 1]]`, entered at `slot[r]`. `longest[root]` is the most
    steps from the entry of a run on. `hiders` are rows for which others were left out.
    """

    slots: int
    nodes: Nodes
    slot: Ints
    start: Ints
    row: Ints
    longest: Ints
    hiders: Ints


@dataclass(eq=False, slots=True)
class _Growth:
    # what is finished while levels are cut
    slots: int
    longest: Ints
    copies: int = 0
    leaves: list[Pieces] = field(default_factory=list)
    nodes: list[Nodes] = field(default_factory=list)
    hiders: list[Ints] = field(default_factory=list)

    def prune(self, pieces: Pieces) -> Pieces:
        pieces, hiders = prune(pieces)
        self.hiders.append(hiders)
        return pieces

    def finish(self, pieces: Pieces, depth: int) -> None:
        self.leaves.append(pieces)
        self.copies += len(pieces.row)
        np.maximum.at(self.longest, pieces.root, depth + run_steps(pieces.count))

    def done(self) -> Forest:
        slot = np.concatenate([part.slot for part in self.leaves])
        count = np.concatenate([part.count for part in self.leaves])
        return Forest(
            slots=self.slots,
            nodes=Nodes(
                *(np.concatenate(part) for part in zip(*map(_columns, self.nodes), strict=True))
            )
            if self.nodes
            else Nodes(*[slot[:0]] * 5),
            slot=slot,
            start=np.concatenate([[0], np.cumsum(count)]),
            row=np.concatenate([part.row for part in self.leaves]),
            longest=self.longest,
            hiders=distinct(np.concatenate([self.longest[:0], *self.hiders])),
        )


def _columns(nodes: Nodes) -> tuple[Ints, ...]:
    return nodes.slot, nodes.word, nodes.shift, nodes.bits, nodes.child


def run_steps(count: Ints) -> Ints:
    """Give the most records that a search looks at in runs: those, and a bisection's."""
    halvings = np.where(count > layout.RUN_MAX, np.ceil(np.log2(np.maximum(count, 1) + 1)), 0)
    return count + halvings.astype(np.int64)


def grow(pieces: Pieces, words: KeyWords, rows: int) -> Forest:
    """Cut the long runs of a chain of so many rows."""
    growth = _Growth(slots=pieces.runs, longest=np.zeros(pieces.runs, np.int64))
    if not pieces.runs:
        growth.leaves.append(pieces)
        return growth.done()
    limit = len(pieces.row) + int(COPIES_PER_ROW * rows) + COPIES_ANYWAY
    pieces = growth.prune(pieces)
    for depth in range(layout.MAX_CUTS):
        is_long = pieces.count > RUN
        growth.finish(pieces.of_runs(~is_long), depth)
        pieces = pieces.of_runs(is_long)
        if not pieces.runs:
            break
        windows, which = _choose(pieces, words, limit - growth.copies - len(pieces.row))
        growth.finish(pieces.of_runs(which < 0), depth)
        pieces = growth.prune(_cut(pieces, windows, which, growth))
    growth.finish(pieces, layout.MAX_CUTS)
    return growth.done()


def _choose(pieces: Pieces, words: KeyWords, budget: int) -> tuple[list[Window], Ints]:
    """Give windows, and which of them each run is cut by, or -1."""
    windows, scores, gains, extras = [], [], [], []
    count = pieces.count
    for window in _windows(pieces, words):
        counts = window.counts()
        copies = _sums(counts, window.offset)
        visited = _sums(counts * counts, window.offset) / np.maximum(copies, 1)
        extra = copies - count + ENTRY_SHARE * np.diff(window.offset)
        score = visited + COPY_PRICE * np.maximum(extra, 0) / count
        score[(window.bits == 0) | (copies > COPIES_MAX * count)] = np.inf
        windows.append(window)
        scores.append(score)
        gains.append(count - visited)
        extras.append(np.maximum(extra, 0))
    if not windows:
        return [], np.full(pieces.runs, -1)
    which = np.argmin(scores, axis=0)
    runs = np.arange(pieces.runs)
    gain = np.where(np.isinf(np.array(scores)[which, runs]), 0, np.array(gains)[which, runs])
    extra = np.array(extras)[which, runs]
    # those first that save most for a copy
    order = np.argsort(-gain * count / (extra + 1), kind="stable")
    affordable = np.zeros(pieces.runs, np.bool_)
    affordable[order] = np.cumsum(extra[order]) <= budget
    return windows, np.where(affordable & (gain >= GAIN_MIN), which, -1)


def _windows(pieces: Pieces, words: KeyWords) -> Iterator[Window]:
    wide = np.clip(np.ceil(np.log2(pieces.count)), 2, layout.CUT_BITS_MAX).astype(np.int64)
    asked = [word for word in range(words.count) if pieces.masks[word].any()]
    halves = [half for half in (0, 1) if not pieces.is_any(half).all()]
    for width in (wide, np.maximum(wide - 3, 1)):
        for word in asked:
            if word != words.ports:
                yield word_window(pieces, word, width)
        if words.ports is not None:
            for half in halves:
                yield port_window(pieces, words.ports, half, width)


def _sums(numbers: Ints, offset: Ints) -> Ints:
    total = np.concatenate([[0], np.cumsum(numbers)])
    return np.asarray(total[offset[1:]] - total[offset[:-1]])


def _cut(pieces: Pieces, windows: list[Window], which: Ints, growth: _Growth) -> Pieces:
    """Make the children of runs that are cut; those without pieces are not made."""
    bits = np.zeros(pieces.runs, np.int64)
    for number, window in enumerate(windows):
        bits = np.where(which == number, window.bits, bits)
    sizes = np.where(which >= 0, np.int64(1) << bits, 0)
    first = growth.slots + np.cumsum(sizes) - sizes
    growth.slots += int(sizes.sum())
    for number in distinct(which[which >= 0]):
        growth.nodes.append(_nodes(pieces, windows[number], which == number, first))
        growth.hiders.append(pieces.row[windows[number].hiders(which == number)])
    slot, source = _copies(pieces, windows, which, first)
    new = np.flatnonzero(np.concatenate([[True], slot[1:] != slot[:-1]])[: len(slot)])
    parent = pieces.run[source]
    out = pieces.into(
        source,
        np.repeat(np.arange(len(new)), np.diff(np.append(new, len(slot)))),
        slot[new],
        pieces.root[parent[new]],
        [left[parent[new]] for left in pieces.open],
    )
    for number in distinct(which[which >= 0]):
        ours = np.flatnonzero(which[parent] == number)
        _settle(out, windows[number], ours, parent[ours], (slot - first[parent])[ours])
    return out


def _copies(pieces: Pieces, windows: list[Window], which: Ints, first: Ints) -> tuple[Ints, Ints]:
    """Give entry and piece of each copy, in order; a run's children are from `first` on."""
    packed = [np.zeros(0, np.int64)]
    for number in distinct(which[which >= 0]):
        window = windows[number]
        child, source = window.pairs(which == number)
        run = pieces.run[source]
        packed.append((first[run] + child - window.offset[run]) << 32 | source)
    every = np.sort(np.concatenate(packed))
    return every >> 32, every & 0xFFFFFFFF


def _nodes(pieces: Pieces, window: Window, chosen: Bools, first: Ints) -> Nodes:
    runs = np.flatnonzero(chosen)
    shift = window.shift[runs] + (16 if window.field.half == 0 else 0)
    word = np.full(len(runs), window.field.word)
    return Nodes(pieces.slot[runs], word, shift, window.bits[runs], first[runs])


def _settle(out: Pieces, window: Window, ours: Ints, parent: Ints, child: Ints) -> None:
    """Take from some pieces what a cut has settled: the bits of its window."""
    shift, bits, half = window.shift[parent], window.bits[parent], window.field.half
    if half is None:
        settled = ((np.int64(1) << bits) - 1) << shift
        out.masks[window.field.word][ours] &= ~settled.astype(np.uint32)
        return
    top = shift + bits
    known = top == out.open[half][out.run[ours]]
    partial = ~out.is_any(half)[ours]
    least = out.low[half][ours] >> top << top | child << shift
    most = least + (np.int64(1) << shift) - 1
    low, high = np.maximum(out.low[half][ours], least), np.minimum(out.high[half][ours], most)
    whole = ~partial | (known & (low == least) & (high == most))
    out.low[half][ours] = np.where(whole, 0, low)
    out.high[half][ours] = np.where(whole, ALL_PORTS, high)
    out.open[half][out.run[ours]] = np.where(known, shift, out.open[half][out.run[ours]])
