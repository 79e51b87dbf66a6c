"""An index that is changed in place finds what one built anew does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.edit import IndexEditor, Row
from bpfilter.compiler.index.rows import KeyWords, Rows
from tests.harness import index_hostile as hostile
from tests.harness.index_rows import (
    IPV4,
    Generator,
    everything,
    hosts,
    like_classbench,
    packets_within,
    rows_of,
)
from tests.harness.index_search import Built, build, compare, packets_of

FAMILIES: dict[str, Callable[[int, Generator], Rows]] = {
    "hosts": hosts,
    "acl": lambda n, random: like_classbench("acl", n, random),
    "fw": lambda n, random: like_classbench("fw", n, random),
    "ipc": lambda n, random: like_classbench("ipc", n, random),
    "short ranges": hostile.short_ranges,
    "nested": hostile.nested,
    "same": hostile.same,
    "one bucket": hostile.one_bucket,
}
ROOM = 1 << 18


def row_of(rows: Rows, number: int) -> Row:
    return Row(
        order=int(rows.order[number]),
        pc=int(rows.pc[number]),
        masks=rows.masks[number].tolist(),
        values=rows.values[number].tolist(),
        sports=(int(rows.sports[number, 0]), int(rows.sports[number, 1])),
        dports=(int(rows.dports[number, 0]), int(rows.dports[number, 1])),
        proto=int(rows.proto[number]),
    )


def packed(rows: Rows) -> Rows:
    """By ascending order."""
    return rows.take(np.argsort(rows.order))


def editor(built: Built) -> IndexEditor:
    return IndexEditor(memoryview(built.memory), built.key, built.tuples)


class Changing:
    """Rows of which some are in an index, which is changed as they come and go."""

    def __init__(self, rows: Rows, inside: int, random: Generator, key: KeyWords = IPV4) -> None:
        self.random, self.key = random, key
        self.rows = rows
        rows.order = (random.permutation(len(rows)) * 100 + 50).astype(np.uint32)
        self.inside = np.zeros(len(rows), np.bool_)
        self.inside[random.permutation(len(rows))[:inside]] = True
        self.rebuilt = self.edited = 0
        self.built = self._build()

    def _build(self) -> Built:
        return build(packed(self.rows.take(self.inside)), self.key, ROOM)

    def change(self) -> None:
        """Take a row out, or put one in; or build anew, where an edit refuses."""
        number = int(self.random.integers(len(self.rows)))
        editing = editor(self.built)
        edit = editing.remove if self.inside[number] else editing.insert
        self.inside[number] = not self.inside[number]
        if edit(self.built.descriptor, row_of(self.rows, number)):
            self.built.rows = packed(self.rows.take(self.inside))
            self.edited += 1
        else:
            self.built = self._build()
            self.rebuilt += 1

    def check(self, packets: int) -> None:
        which = self.random.integers(0, len(self.rows), packets)
        words, protos = packets_within(self.rows, which, self.random, self.key)
        half = packets // 2
        words[half:] = hostile.near_misses(words[half:], self.random)
        compare(self.built, packets_of(words, protos, self.key))


@pytest.mark.parametrize("hiding", [1.0, 0.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_come_and_go(family: str, hiding: float) -> None:
    random = np.random.default_rng(len(family))
    rows = FAMILIES[family](500 if hiding else 200, random)
    rows.hides &= random.random(len(rows)) < hiding
    changing = Changing(rows, len(rows) * 2 // 3, random)
    for _ in range(12):
        for _ in range(8):
            changing.change()
        changing.check(30 if hiding else 6)
    assert changing.edited > changing.rebuilt or family in ("same", "nested", "short ranges")


def test_words_that_records_do_not_see() -> None:
    random = np.random.default_rng(1)
    changing = Changing(hostile.ipv6(400, random), 250, random, hostile.IPV6)
    for _ in range(60):
        changing.change()
    changing.check(100)
    assert changing.edited > changing.rebuilt


def test_a_row_that_fits_no_tuple_but_the_one_that_tests_nothing() -> None:
    rows = hosts(100, np.random.default_rng(1))
    built = build(rows, IPV4, ROOM)
    assert built.index.tuples == 1
    new = rows_of(everything(1), hides=False)
    new.order[:] = 7
    rows.order += np.uint32(10)
    built = build(rows, IPV4, ROOM)
    assert editor(built).insert(built.descriptor, row_of(new, 0))
    random = np.random.default_rng(2)
    words, protos = packets_within(rows, np.arange(50), random)
    for packet in packets_of(words, protos, IPV4):
        assert built.first(packet, 0) == 7
    for row, packet in enumerate(packets_of(words, protos, IPV4)):
        assert built.first(packet, 8) == rows.order[row]


def test_all_views_of_an_index_search_a_tuple_that_was_empty() -> None:
    rows = hosts(20, np.random.default_rng(1))
    rows.order += np.uint32(10)
    built = build(rows, IPV4, ROOM)
    # the descriptor twice more, and one that is another's
    twins = bytes(built.memory[built.descriptor : built.descriptor + layout.DESCRIPTOR_BYTES])
    start = built.descriptor + layout.DESCRIPTOR_BYTES
    built.memory[start : start + 2 * len(twins)] = twins * 2
    other = start + 2 * len(twins)
    built.memory[other : other + len(twins)] = bytes(len(twins))
    editing = editor(built)
    editing.free = other + len(twins)
    new = rows_of(everything(1))
    assert editing.insert(built.descriptor, row_of(new, 0))
    searched = [
        layout.SET.unpack_from(built.memory, built.descriptor + view * layout.DESCRIPTOR_BYTES)[0]
        for view in range(4)
    ]
    assert searched == [3, 3, 3, 0]


def test_kinds_are_added_until_there_is_no_room() -> None:
    rows = hosts(20, np.random.default_rng(1))
    built = build(rows, IPV4, ROOM)
    editing = editor(built)
    room = editing.kinds.room - editing.kinds.number
    assert room > 100
    new = rows_of(everything(1))
    for number in range(room + 1):
        new.dports[:] = number, 60000
        new.order[:] = 1000 + number
        assert editing.insert(built.descriptor, row_of(new, 0)) == (number < room)


def test_a_run_grows_long() -> None:
    rows = hosts(20, np.random.default_rng(1))
    built = build(rows, IPV4, ROOM)
    editing = editor(built)
    new = rows_of(everything(300), hides=False)
    new.order = np.random.default_rng(2).permutation(300).astype(np.uint32) + np.uint32(100)
    for number in range(300):
        assert editing.insert(built.descriptor, row_of(new, number))
    words, protos = packets_within(rows, np.arange(3), np.random.default_rng(2))
    for packet in packets_of(words, protos, IPV4):
        for from_order in (20, 100, 163, 164, 399):
            assert built.first(packet, from_order) == max(from_order, 100)
        assert built.first(packet, 400) is None


def test_rows_that_are_left_out_may_go_but_not_what_hides_them() -> None:
    rows = hosts(40, np.random.default_rng(1))
    rows.hides[:] = False
    built = build(rows, IPV4, ROOM)
    again = rows.take(np.arange(39, 40))
    again.order[:] = rows.order[39] + np.uint32(1)
    assert not editor(built).remove(built.descriptor, row_of(again, 0)), "it is nowhere"
    rows.hides[:] = True
    both = rows.take(np.r_[np.arange(40), np.full(20, 39)])
    both.order = np.arange(60).astype(np.uint32)
    built = build(both, IPV4, ROOM)
    editing = editor(built)
    assert editing.remove(built.descriptor, row_of(both, 50))
    assert not editing.remove(built.descriptor, row_of(both, 39))
    assert editing.remove(built.descriptor, row_of(both, 38))


def test_no_room_is_told() -> None:
    rows = hosts(200, np.random.default_rng(1))
    built = build(rows, IPV4, reserve=0)
    memory = memoryview(built.memory)
    spare = len(memory) - editor(built).free
    new = hosts(40, np.random.default_rng(2))
    done = 0
    while editor(built).insert(built.descriptor, row_of(new, done)):
        done += 1
    assert done <= spare // IPV4.record_bytes
