"""The search, in plain Python: what emit.py does as eBPF, for tests and explanations."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.layout import KeyWords
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
    """The parts a search took: each pruner, tuple, cut and record it looked at.

    Skipping the records before `from_order` in a long run is a bisection, each step of
    which counts as a record.
    """

    pruners: int = 0
    tuples: int = 0
    cuts: int = 0
    records: int = 0
    found: Found | None = None

    @property
    def steps(self) -> int:
        return self.pruners + self.tuples + self.cuts + self.records


def walk(
    memory: Memory, descriptor: int, key: KeyWords, packet: Packet, from_order: int = 0
) -> Walk:
    """Find the matching record of lowest order from `from_order` on."""
    took = Walk()
    tuples, _, pruners, tuple_at, pruner_at, count, _, _ = layout.DESCRIPTOR.unpack_from(
        memory, descriptor
    )
    stride = layout.stride(key.count)
    for at in range(pruner_at, pruner_at + pruners * stride, stride):
        took.pruners += 1
        base, shift, always = layout.PRUNER.unpack_from(memory, at)
        here = base + 8 * (_hash(memory, at, packet) >> shift)
        tuples &= layout.SET.unpack_from(memory, here)[0] | always
    for number in range(count):
        base, shift, min_order, _ = layout.TUPLE.unpack_from(memory, tuple_at + number * stride)
        if took.found is not None and took.found.order < min_order:
            break
        if tuples >> number & 1:
            took.tuples += 1
            bucket = _hash(memory, tuple_at + number * stride, packet) >> shift
            _search_bucket(memory, base + 4 * bucket, key, packet, from_order, took)
    return took


def _hash(memory: Memory, at: int, packet: Packet) -> int:
    # `at` is a tuple or pruner
    masks = memory[at + layout.MASKS_OFFSET : at + layout.MASKS_OFFSET + 4 * len(packet.words)]
    words = zip(packet.words, memoryview(masks).cast("I"), strict=True)
    return layout.hash_words(word & mask for word, mask in words)


def _search_bucket(
    memory: Memory, entry_at: int, key: KeyWords, packet: Packet, from_order: int, took: Walk
) -> None:
    (entry,) = layout.ENTRY.unpack_from(memory, entry_at)
    for _ in range(layout.MAX_CUTS):
        if entry & layout.COUNT_MASK != layout.ENTRY_CUT:
            break
        took.cuts += 1
        word, shift, bits, base = layout.CUT.unpack_from(memory, _offset(entry))
        child = packet.words[word] >> shift & (1 << bits) - 1
        (entry,) = layout.ENTRY.unpack_from(memory, base + 4 * child)
    count, at = entry & layout.COUNT_MASK, _offset(entry)
    assert count != layout.ENTRY_CUT, "too many cuts"
    if count == layout.ENTRY_LONG:
        count, _ = layout.LONG_RUN.unpack_from(memory, at)
        at += layout.LONG_RUN.size
        if from_order:
            skipped = _bisect(memory, at, key.record_bytes, count, from_order, took)
            at, count = at + skipped * key.record_bytes, count - skipped
    _search_run(memory, at, count, key, packet, from_order, took)


def _offset(entry: int) -> int:
    return (entry >> layout.COUNT_BITS) * layout.UNIT


def _bisect(memory: Memory, at: int, width: int, count: int, from_order: int, took: Walk) -> int:
    low, high = 0, count
    while low < high:
        took.records += 1
        middle = (low + high) // 2
        order, _ = layout.RECORD_HEAD.unpack_from(memory, at + middle * width)
        if order >> 8 < from_order:
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
    best = took.found.order if took.found else layout.ORDER_NONE
    for record_at in range(at, at + count * key.record_bytes, key.record_bytes):
        took.records += 1
        order, pc = layout.RECORD_HEAD.unpack_from(memory, record_at)
        if order >> 8 > best:
            return
        if order >> 8 >= from_order and _matches(memory, record_at, key, packet):
            took.found = Found(order >> 8, pc >> 8)
            return


def _matches(memory: Memory, record_at: int, key: KeyWords, packet: Packet) -> bool:
    kinds = layout.HEADER.unpack_from(memory)[3]
    order, pc = layout.RECORD_HEAD.unpack_from(memory, record_at)
    kind = (order & 0xFF) << 8 | pc & 0xFF
    *masks, s_low, s_high, d_low, d_high, proto = layout.KIND.unpack_from(
        memory, kinds + kind * layout.KIND_BYTES
    )
    values = struct.unpack_from(f"={len(key.compared)}I", memory, record_at + 8)
    return (
        all(
            packet.words[word] & mask == value
            for word, mask, value in zip(key.compared, masks, values, strict=False)
        )
        and s_low <= packet.ports >> 16 <= s_high
        and d_low <= packet.ports & 0xFFFF <= d_high
        and proto in (0, packet.proto)
    )
