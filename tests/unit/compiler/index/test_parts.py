"""The parts of the builder: tuples, pruners, buckets, memory."""

from __future__ import annotations

import numpy as np
import pytest

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.buckets import sort_rows
from bpfilter.compiler.index.pruners import choose_pruners
from bpfilter.compiler.index.rows import Rows, classify, hash_rows
from bpfilter.compiler.index.tuples import choose_tuples
from bpfilter.compiler.index.walk import walk
from bpfilter.errors import BuildError
from tests.harness import index_hostile as hostile
from tests.harness.index_rows import IPV4, Array, hosts, like_classbench, packets_within
from tests.harness.index_search import build, packets_of

KINDS = ["acl", "fw", "ipc"]


def rows_named(name: str, n: int) -> Rows:
    random = np.random.default_rng(4)
    special = {"hosts": hosts, "masks": hostile.masks, "nested": hostile.nested}
    return special[name](n, random) if name in special else like_classbench(name, n, random)


@pytest.mark.parametrize("name", [*KINDS, "hosts", "masks", "nested"])
def test_rows_test_all_that_their_tuple_does(name: str) -> None:
    rows = rows_named(name, 5000)
    tuples = choose_tuples(rows)
    assert 1 <= len(tuples) <= layout.TUPLES_MAX
    assert not (tuples.masks[tuples.of] & ~rows.masks).any()


@pytest.mark.parametrize("name", [*KINDS, "hosts", "masks", "nested"])
def test_tuples_ascend_by_their_lowest_order(name: str) -> None:
    rows = rows_named(name, 3000)
    rows.order = rows.order * np.uint32(3) + np.uint32(11)
    tuples = choose_tuples(rows)
    assert (np.diff(tuples.min_order.astype(np.int64)) > 0).all()
    for number, lowest in enumerate(tuples.min_order):
        mine = rows.order[tuples.of == number]
        assert lowest == (mine.min() if len(mine) else layout.ORDER_NONE)


@pytest.mark.parametrize("name", [*KINDS, "hosts"])
def test_a_tuple_that_tests_nothing_is_there_for_edits(name: str) -> None:
    tuples = choose_tuples(rows_named(name, 2000))
    assert not tuples.masks.any(axis=1).all()


@pytest.mark.parametrize("name", KINDS)
def test_pruners_leave_the_tuple_of_every_row(name: str) -> None:
    rows = rows_named(name, 5000)
    tuples = choose_tuples(rows)
    pruners = choose_pruners(rows, tuples)
    assert 0 < len(pruners) <= layout.PRUNERS_MAX
    words, _ = packets_within(rows, np.arange(len(rows)), np.random.default_rng(1))
    own = np.uint64(1) << tuples.of.astype(np.uint64)
    for pruner in pruners:
        assert (pruner.leaves(words) & own == own).all()


def test_few_tuples_need_no_pruner() -> None:
    rows = rows_named("hosts", 1000)
    assert choose_pruners(rows, choose_tuples(rows)) == []


@pytest.mark.parametrize("name", [*KINDS, "hosts"])
def test_buckets_hold_every_row_once_in_order(name: str) -> None:
    rows = rows_named(name, 4000)
    buckets = sort_rows(rows, choose_tuples(rows))
    assert sorted(buckets.row.tolist()) == list(range(len(rows)))
    assert len(set(buckets.entry.tolist())) == len(buckets.entry)
    for start, end in zip(buckets.start[:-1], buckets.start[1:], strict=True):
        assert (np.diff(buckets.row[start:end]) > 0).all()


def test_hashes_are_those_of_the_search() -> None:
    random = np.random.default_rng(2)
    words = random.integers(0, 1 << 32, (50, 12), dtype=np.uint32)
    masks = random.integers(0, 1 << 32, 12, dtype=np.uint32)
    expected = [layout.hash_words(row) for row in (words & masks).tolist()]
    assert hash_rows(words, masks).tolist() == expected


def test_classes_are_of_equal_rows() -> None:
    random = np.random.default_rng(3)
    columns: list[Array] = [
        random.integers(0, 4, 300),
        random.integers(0, 5, 300).astype(np.uint8),
    ]
    first, of = classify(columns)
    pairs = list(zip(*(column.tolist() for column in columns), strict=True))
    assert len(first) == len(set(pairs))
    assert [pairs[first[number]] for number in of] == pairs
    assert all(pairs.index(pairs[place]) == place for place in first.tolist())


@pytest.mark.parametrize("name", KINDS)
def test_a_packet_meets_few_tuples_and_records(name: str) -> None:
    rows = rows_named(name, 10_000)
    built = build(rows, IPV4)
    random = np.random.default_rng(5)
    words, protos = packets_within(rows, random.integers(0, len(rows), 400), random)
    took = [
        walk(built.memory, built.descriptor, IPV4, packet)
        for packet in packets_of(words, protos, IPV4)
    ]
    assert np.mean([each.tuples for each in took]) < 8
    assert np.mean([each.cuts for each in took]) < 3
    assert np.mean([each.records for each in took]) < 12


def test_what_is_put_into_memory_is_there() -> None:
    blob = Blob()
    first = blob.append(np.arange(5, dtype=np.uint32))
    later = blob.allocate(8)
    last = blob.append_bytes(b"abc")
    blob.put(later, np.array([7], np.uint64))
    blob.reserve(1000)
    memory = blob.to_bytes()
    assert memory[first : first + 20] == np.arange(5, dtype=np.uint32).tobytes()
    assert memory[later : later + 8] == np.array([7], np.uint64).tobytes()
    assert memory[last : last + 3] == b"abc"
    magic, free, end, *_ = layout.HEADER.unpack_from(memory)
    assert (magic, free, end) == (layout.MAGIC, blob.size, len(memory))
    assert end - free >= 1000


def test_more_than_entries_can_name_is_refused() -> None:
    with pytest.raises(BuildError, match="needs more than"):
        Blob().allocate(layout.SIZE_MAX)
