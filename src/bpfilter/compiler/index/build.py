"""Build the index of one chain, in one view of it."""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.buckets import Buckets, sort_rows
from bpfilter.compiler.index.cuts import RUN, Forest, grow
from bpfilter.compiler.index.pieces import pieces_of
from bpfilter.compiler.index.pruners import choose_pruners, write_pruners
from bpfilter.compiler.index.rows import Bools, Ints, KeyWords, Rows
from bpfilter.compiler.index.runs import records_of, write_forest, write_runs
from bpfilter.compiler.index.tuples import Tuples, choose_tuples
from bpfilter.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    """A built index: the descriptor that leads to it, and figures.

    `steps` bounds what one search takes: pruners, tuples, cuts and records (walk.py).
    `records` counts rows with their copies, `bytes` what the index takes of the blob,
    `hidden` rules that no packet gets to.
    """

    descriptor: bytes
    tuples: int
    pruners: int
    steps: int
    records: int
    bytes: int
    hidden: int


def build_index(rows: Rows, words: KeyWords, blob: Blob, end_pc: int) -> Index:
    """Append the index of a chain's rows to the blob.

    Raises: BuildError if the blob outgrows what an entry can name.
    """
    before = blob.size
    if not len(rows):
        return Index(layout.DESCRIPTOR.pack(0, end_pc, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0, 0)
    tuples = choose_tuples(rows)
    pruners = choose_pruners(rows, tuples)
    buckets = sort_rows(rows, tuples)
    is_long = buckets.count > RUN
    short = np.repeat(~is_long, buckets.count)
    forest = _grow(rows, words, tuples, buckets, is_long)
    longest = np.zeros(len(tuples), np.int64)
    of_run = np.searchsorted(buckets.base, buckets.entry, side="right") - 1
    steps = np.where(is_long, 0, buckets.count)
    steps[is_long] = forest.longest
    np.maximum.at(longest, of_run, steps)

    records = records_of(rows, words)
    entries = np.zeros(buckets.base[-1], np.uint32)
    start = np.concatenate([[0], np.cumsum(buckets.count[~is_long])])
    entries[buckets.entry[~is_long]] = write_runs(records, start, buckets.row[short], blob)
    entries[buckets.entry[is_long]] = write_forest(forest, records, blob)
    tuple_at = _write_tuples(tuples, buckets, longest, blob.append(entries), words.count, blob)
    pruner_at = write_pruners(pruners, words.count, blob)
    used = longest > 0
    descriptor = layout.DESCRIPTOR.pack(
        sum(1 << t for t in range(len(tuples)) if used[t]),
        end_pc,
        len(pruners),
        tuple_at,
        pruner_at,
        len(tuples),
        blob.append(rows.order[forest.hiders]),
        len(forest.hiders),
    )
    seen = np.zeros(len(rows), np.bool_)
    seen[buckets.row[short]] = True
    seen[forest.row] = True
    return Index(
        descriptor=descriptor,
        tuples=int(used.sum()),
        pruners=len(pruners),
        steps=len(pruners) + int((longest + used).sum()),
        records=int(short.sum()) + len(forest.row),
        bytes=blob.size - before,
        hidden=int(np.count_nonzero(~seen)),
    )


def _grow(rows: Rows, words: KeyWords, tuples: Tuples, buckets: Buckets, is_long: Bools) -> Forest:
    row = buckets.row[np.repeat(is_long, buckets.count)]
    start = np.concatenate([[0], np.cumsum(buckets.count[is_long])])
    return grow(pieces_of(rows, words, tuples, row, start), words, len(rows))


def _write_tuples(
    tuples: Tuples, buckets: Buckets, longest: Ints, entries: int, key_words: int, blob: Blob
) -> int:
    table = np.zeros((len(tuples), layout.stride(key_words) // 4), np.uint32)
    table[:, 0] = entries + 4 * buckets.base[:-1]
    table[:, 1] = 64 - buckets.bits
    table[:, 2] = tuples.min_order
    table[:, 3] = longest
    table[:, 4 : 4 + key_words] = tuples.masks
    return blob.append(table)
