"""The parts of the builder: tuples, filters, buckets, memory."""

from __future__ import annotations

import numpy as np
import pytest

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.buckets import sort_rows
from bpfilter.compiler.index.filters import allowed, choose_windows, filters
from bpfilter.compiler.index.pieces import pieces_of
from bpfilter.compiler.index.rows import Rows, classify, hash_rows, joined
from bpfilter.compiler.index.tuples import Tuples, choose_tuples
from bpfilter.compiler.index.walk import walk
from bpfilter.compiler.index.windows import word_window
from bpfilter.errors import BuildError
from tests.harness import index_hostile as hostile
from tests.harness.index_rows import IPV4, Array, hosts, like_classbench, packets_within
from tests.harness.index_search import build, packets_of

KINDS = ["acl", "fw", "ipc"]


def rows_named(name: str, n: int) -> Rows:
    random = np.random.default_rng(4)
    special = {"hosts": hosts, "masks": hostile.masks, "nested": hostile.nested}
    return special[name](n, random) if name in special else like_classbench(name, n, random)


def chosen(rows: Rows) -> Tuples:
    return choose_tuples(rows, np.zeros(len(rows), np.int64), np.ones(len(rows)))


@pytest.mark.parametrize("name", [*KINDS, "hosts", "masks", "nested"])
def test_rows_test_all_that_their_tuple_does(name: str) -> None:
    rows = rows_named(name, 5000)
    tuples = chosen(rows)
    assert 1 < len(tuples) <= layout.TUPLES_MAX
    assert not (tuples.masks[tuples.assign(rows)] & ~rows.masks).any()


@pytest.mark.parametrize("name", KINDS)
def test_rows_of_other_views_have_the_most_telling_tuple(name: str) -> None:
    rows = rows_named(name, 2000)
    tuples = chosen(rows)
    others = rows_named(name, 2000)
    others.masks[:, 2] = 0  # ports that cannot be read
    others.values[:, 2] = 0
    of = tuples.assign(others)
    bits = np.bitwise_count(tuples.masks).sum(axis=1)
    for row, number in enumerate(of.tolist()):
        fits = ~(tuples.masks & ~others.masks[row]).any(axis=1)
        assert fits[number]
        if others.masks[row].tobytes() not in tuples.known:
            assert bits[number] == bits[fits].max()


@pytest.mark.parametrize("name", [*KINDS, "hosts", "masks"])
def test_the_last_tuple_tests_nothing(name: str) -> None:
    masks = chosen(rows_named(name, 2000)).masks
    assert not masks[-1].any()
    assert masks[:-1].any(axis=1).all()


def test_rows_of_other_chains_do_not_share_entries() -> None:
    """Two chains of the same hosts are one tuple; in one chain they would crowd it as well."""
    rows = rows_named("hosts", 1000)
    twice = joined([rows, rows])
    tuples = choose_tuples(twice, np.repeat([0, 1], 1000), np.ones(2000))
    assert len(tuples) == 2


@pytest.mark.parametrize("name", [*KINDS, "hosts", "masks", "nested"])
def test_filters_let_packets_of_rows_pass(name: str) -> None:
    rows = rows_named(name, 3000)
    tuples = chosen(rows)
    windows = choose_windows(rows, np.zeros(len(rows), np.int64), IPV4, tuples)
    of = tuples.assign(rows)
    let = filters(rows, IPV4, of, windows)
    words, _ = packets_within(rows, np.arange(len(rows)), np.random.default_rng(1))
    for packet, number, values in zip(words.tolist(), of.tolist(), let.tolist(), strict=True):
        assert values >> windows[number].window(packet) & 1


@pytest.mark.parametrize("word", range(3))
def test_filters_are_exact(word: int) -> None:
    """A value is in a row's filter if, and only if, a packet that it matches can have it."""
    random = np.random.default_rng(word)
    rows = rows_named("ipc", 300)
    for shift in (0, 3, 12, 16, 20, 28):
        sets = allowed(rows, IPV4, np.arange(300), word, shift)
        for row in random.integers(0, 300, 20).tolist():
            mask, value = int(rows.masks[row, word]), int(rows.values[row, word])
            bounds = (rows.sports if shift >= 16 else rows.dports)[row].astype(int).tolist()
            for number in range(16):
                fits = (number << shift & mask) == (value & mask & 15 << shift)
                if word == IPV4.ports:
                    ports = range(bounds[0] >> shift % 16, (bounds[1] >> shift % 16) + 1)
                    fits = fits and any(port & 15 == number for port in ports[:16])
                assert bool(sets[row] >> number & 1) == fits


@pytest.mark.parametrize("name", KINDS)
def test_windows_keep_packets_away(name: str) -> None:
    """Of the packets that come to an entry, many go no further."""
    rows = rows_named(name, 10_000)
    built = build(rows, IPV4)
    words, protos = packets_within(rows, np.arange(0, 10_000, 25), np.random.default_rng(5))
    visited = gathered = 0
    for packet in packets_of(words, protos, IPV4):
        took = walk(built.memory, built.descriptor, IPV4, built.tuples, packet)
        visited, gathered = visited + took.visited, gathered + took.gathered
    assert visited < 0.75 * gathered


@pytest.mark.parametrize("name", [*KINDS, "hosts"])
def test_buckets_hold_every_row_once_in_order(name: str) -> None:
    rows = rows_named(name, 4000)
    tuples = chosen(rows)
    buckets = sort_rows(rows, tuples.assign(rows), tuples.masks)
    assert sorted(buckets.row.tolist()) == list(range(len(rows)))
    assert len(set(buckets.entry.tolist())) == len(buckets.entry)
    for start, end in zip(buckets.start[:-1], buckets.start[1:], strict=True):
        assert (np.diff(buckets.row[start:end]) > 0).all()


def test_a_cut_copies_rows_to_the_children_that_they_match_alone() -> None:
    """With gaps in masks these are not one interval; a copy elsewhere would hide other rows."""
    random = np.random.default_rng(7)
    rows = hostile.holes(300, random)
    rows.hides[:] = False
    nothing = np.zeros((len(rows), 3), np.uint32)
    pieces = pieces_of(rows, IPV4, nothing, np.arange(len(rows)), np.array([0, len(rows)]))
    for word in (0, 1):
        window = word_window(pieces, word, np.array([6]))
        assert window.bits[0] == 6
        found = set(zip(*(each.tolist() for each in window.pairs(np.array([True]))), strict=True))
        packet = (np.arange(64) << window.shift[0])[:, None]
        asked = rows.masks[:, word] & np.uint32(63 << int(window.shift[0]))
        expected = np.argwhere(((packet ^ rows.values[:, word]) & asked) == 0)
        assert found == set(map(tuple, expected.tolist()))


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
        walk(built.memory, built.descriptor, IPV4, built.tuples, packet)
        for packet in packets_of(words, protos, IPV4)
    ]
    assert np.mean([each.visited for each in took]) < 8
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


def test_a_small_chain_that_all_packets_come_to_gets_a_tuple() -> None:
    """As that of firewalld's zones: a few networks before many chains of many hosts."""
    zones, zone = rows_named("hosts", 60), rows_named("hosts", 3000)
    zones.masks[:] = [0xFFFF_C000, 0, 0]
    zones.values[:] = 0
    zones.values[:, 0] = np.arange(60) << 14
    rows = joined([zones, *[zone] * 20])
    chain = np.repeat(np.arange(21), [60, *[3000] * 20])
    traffic = np.repeat([1 / 60, *[1 / 60 / 3000] * 20], [60, *[3000] * 20])
    traffic /= traffic.mean()

    def have_a_tuple(packets: Array) -> bool:
        tuples = choose_tuples(rows, chain, packets)
        return bool(tuples.masks[tuples.assign(zones)].any(axis=1).all())

    assert have_a_tuple(traffic)
    assert not have_a_tuple(np.ones(len(rows)))
