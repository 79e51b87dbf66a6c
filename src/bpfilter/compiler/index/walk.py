"""The search, in plain Python: what emit.py does as eBPF, for tests and explanations."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.layout import Entry, KeyWords, Record, Tuple
from bpfilter.dataclass import dataclass

Memory = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Packet:
    """What a search sees of a packet: key words, and the words that records test."""

    words: Sequence[int]
    ports: int
    proto: int


@dataclass(frozen=True, slots=True)
class Found:
    """The record of lowest order that matches."""

    order: int
    pc: int


@dataclass(slots=True)
class Walk:
    """The parts a search took: each entry it gathered, cut and record it looked at.

    `visited` are entries that it went on from. Skipping the records before `from_order` in a
    long run is a bisection, each step of which counts as a record.
    """

    gathered: int = 0
    visited: int = 0
    cuts: int = 0
    records: int = 0
    found: Found | None = None

    @property
    def steps(self) -> int:
        return self.gathered + self.cuts + self.records

    @property
    def best(self) -> int:
        """The order that a record must not exceed."""
        return self.found.order if self.found else layout.ORDER_NONE


def walk(
    memory: Memory,
    descriptor: int,
    key: KeyWords,
    tuples: Sequence[Tuple],
    packet: Packet,
    from_order: int = 0,
) -> Walk:
    """Find the matching record of lowest order from `from_order` on."""
    took = Walk()
    searched, _, tables, _, _ = layout.DESCRIPTOR.unpack_from(memory, descriptor)
    took.gathered = layout.gathered(searched, len(tuples))
    for number, each in enumerate(tuples):
        entry = _entry(memory, tables + number * layout.TABLE_BYTES, each, packet)
        passes = entry.upper >> each.window(packet.words) & 1
        if passes or entry.count == layout.ENTRY_CUT:
            took.visited += 1
            _visit(memory, entry, key, packet, from_order, took)
    return took


def _entry(memory: Memory, table: int, each: Tuple, packet: Packet) -> Entry:
    base, shift, _ = layout.TABLE.unpack_from(memory, table)
    masked = (word & mask for word, mask in zip(packet.words, each.masks, strict=True))
    place = layout.hash_words(masked) >> shift
    return Entry.read(memory, base + layout.ENTRY_BYTES * place)


def _visit(
    memory: Memory, entry: Entry, key: KeyWords, packet: Packet, from_order: int, took: Walk
) -> None:
    for _ in range(layout.MAX_CUTS + 1):
        if entry.first > took.best >> layout.FIRST_SHIFT:
            return
        if entry.count != layout.ENTRY_CUT:
            break
        took.cuts += 1
        slot, shift, bits = entry.cut
        child = packet.words[key.slots.index(slot)] >> shift & (1 << bits) - 1
        entry = Entry.read(memory, entry.offset + layout.ENTRY_BYTES * child)
    count, at = entry.count, entry.offset
    assert count != layout.ENTRY_CUT, "too many cuts"
    if count == layout.ENTRY_LONG:
        count, _ = layout.LONG_RUN.unpack_from(memory, at)
        at += layout.LONG_RUN.size
        if from_order:
            skipped = _bisect(memory, at, key.record_bytes, count, from_order, took)
            at, count = at + skipped * key.record_bytes, count - skipped
    _search_run(memory, at, count, key, packet, from_order, took)


def _bisect(memory: Memory, at: int, width: int, count: int, from_order: int, took: Walk) -> int:
    low, high = 0, count
    while low < high:
        took.records += 1
        middle = (low + high) // 2
        if Record.read(memory, at + middle * width).order < from_order:
            low = middle + 1
        else:
            high = middle
    return low


def _search_run(
    memory: Memory,
    at: int,
    count: int,
    key: KeyWords,
    packet: Packet,
    from_order: int,
    took: Walk,
) -> None:
    best = took.best
    for record_at in range(at, at + count * key.record_bytes, key.record_bytes):
        took.records += 1
        order, pc, _, _ = Record.read(memory, record_at)
        if order > best:
            return
        if order >= from_order and _matches(memory, record_at, key, packet):
            took.found = Found(order, pc)
            return


def _matches(memory: Memory, record_at: int, key: KeyWords, packet: Packet) -> bool:
    _, _, _, kinds, _, _, forms, *_ = layout.HEADER.unpack_from(memory)
    record = Record.read(memory, record_at)
    masks = layout.FORM.unpack_from(memory, forms + record.form * layout.FORM_BYTES)
    s_low, s_high, d_low, d_high, proto = layout.KIND.unpack_from(
        memory, kinds + record.kind * layout.KIND_BYTES
    )
    values = struct.unpack_from(
        f"={len(key.compared)}I", memory, record_at + layout.RECORD_HEAD.size
    )
    return (
        all(
            packet.words[word] & mask == value
            for word, mask, value in zip(key.compared, masks, values, strict=False)
        )
        and s_low <= packet.ports >> 16 <= s_high
        and d_low <= packet.ports & 0xFFFF <= d_high
        and proto in (0, packet.proto)
    )
