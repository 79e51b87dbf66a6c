"""Change an index in place: a record put in or made void, without numpy or building anew.

What is changed is a copy that no packet is searched in yet. A run grows by being written
again behind everything else, where the builder has left room (layout.py's header); a record
goes by getting a kind that nothing matches, since runs may be shared.

A row is put into the most telling tuple whose masks are part of its own. One that tests
nothing is always there, but is not searched until it has a row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.layout import KeyWords
from bpfilter.dataclass import dataclass

#: A row that is in more runs than this is better put in by building the index anew.
MAX_RUNS = 64
#: The number of the kind that no packet matches: its mask is empty, a record's value is not.
VOID_KIND = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A rule in one view: what the index knows of it, as a row of the builder's columns."""

    order: int
    pc: int
    masks: Sequence[int]
    values: Sequence[int]
    sports: tuple[int, int]
    dports: tuple[int, int]
    proto: int


class IndexEditor:
    """Edits the index in `memory`, which is writable; what it cannot do it answers False."""

    def __init__(self, memory: memoryview, key: KeyWords) -> None:
        self.memory = memory
        self.key = key
        _, self.free, self.end, self.kinds, self.kinds_number, self.kinds_room = (
            layout.HEADER.unpack_from(memory)
        )
        self.free = -(-self.free // layout.UNIT) * layout.UNIT
        self.stride = layout.stride(key.count)

    def insert(self, descriptor: int, row: Row) -> bool:
        """Put a row in one view's index; if False, the index may be half changed."""
        kind = self._kind(row)
        if kind is None:
            return False
        record = self._record(row, kind)
        for number in self._tuples(descriptor, row):
            entries = list(self._entries(descriptor, number, row))
            if len(entries) <= MAX_RUNS:
                steps = [self._grow(at, row.order, record) for at in entries]
                self._raise_bounds(descriptor, number, row.order, max(steps, default=0))
                self._admit(descriptor, number, row)
                self._save()
                return 0 not in steps
        return False

    def remove(self, descriptor: int, row: Row) -> bool:
        """Make a row's records void. False if others were left out for it, or if it is nowhere,
        though there is none that it could have been left out for."""
        fields = layout.DESCRIPTOR.unpack_from(self.memory, descriptor)
        hiders = struct.unpack_from(f"={fields[7]}I", self.memory, fields[6])
        if row.order in hiders:
            return False
        found = min(hiders, default=row.order) < row.order
        for number in self._tuples(descriptor, row):
            for entry_at in self._entries(descriptor, number, row):
                for at in self._records(entry_at):
                    order, pc = layout.RECORD_HEAD.unpack_from(self.memory, at)
                    if order >> 8 == row.order:
                        order = order & ~0xFF | VOID_KIND >> 8
                        pc = pc & ~0xFF | VOID_KIND & 0xFF
                        struct.pack_into("=III", self.memory, at, order, pc, 1)
                        found = True
        return found

    # What is where

    # Tuples that may hold a row, the most telling first: by number.
    def _tuples(self, descriptor: int, row: Row) -> list[int]:
        _, _, _, table, _, count, _, _ = layout.DESCRIPTOR.unpack_from(self.memory, descriptor)
        found = []
        for number in range(count):
            masks = self._masks(table + number * self.stride)
            if all(m & theirs == m for m, theirs in zip(masks, row.masks, strict=True)):
                found.append((-sum(mask.bit_count() for mask in masks), number))
        return [number for _, number in sorted(found)]

    def _masks(self, at: int) -> tuple[int, ...]:
        return struct.unpack_from(f"={self.key.count}I", self.memory, at + layout.MASKS_OFFSET)

    # Where the entries are that lead to runs a row belongs in: behind cuts, those of all
    # children that its masks allow.
    def _entries(self, descriptor: int, number: int, row: Row) -> Iterator[int]:
        table = layout.DESCRIPTOR.unpack_from(self.memory, descriptor)[3]
        at = table + number * self.stride
        base, shift, _, _ = layout.TUPLE.unpack_from(self.memory, at)
        masked = (value & mask for value, mask in zip(row.values, self._masks(at), strict=True))
        todo = [base + 4 * (layout.hash_words(masked) >> shift)]
        while todo:
            at = todo.pop()
            (entry,) = layout.ENTRY.unpack_from(self.memory, at)
            if entry & layout.COUNT_MASK != layout.ENTRY_CUT:
                yield at
                continue
            word, shift, bits, children = layout.CUT.unpack_from(self.memory, _offset(entry))
            todo += [children + 4 * child for child in self._children(row, word, shift, bits)]

    # What `bits` bits of a word from `shift` on may be, in packets that a row matches.
    def _children(self, row: Row, word: int, shift: int, bits: int) -> list[int]:
        window = (1 << bits) - 1
        mask, value = row.masks[word] >> shift & window, row.values[word] >> shift & window
        allowed = [child for child in range(1 << bits) if (child ^ value) & mask == 0]
        if word != self.key.ports:
            return allowed
        low, high = row.sports if shift >= 16 else row.dports
        first, last = low >> shift % 16, high >> shift % 16
        return [child for child in allowed if (child - first) & window <= last - first]

    def _records(self, entry_at: int) -> range:
        (entry,) = layout.ENTRY.unpack_from(self.memory, entry_at)
        count, at = entry & layout.COUNT_MASK, _offset(entry)
        if count == layout.ENTRY_LONG:
            count, _ = layout.LONG_RUN.unpack_from(self.memory, at)
            at += layout.LONG_RUN.size
        width = self.key.record_bytes
        return range(at, at + count * width, width)

    # What is changed

    def _kind(self, row: Row) -> int | None:
        masks = [row.masks[word] for word in self.key.compared]
        masks += [0] * (layout.COMPARED_MAX - len(masks))
        ports = [row.sports, row.dports]
        if self.key.ports in self.key.compared:
            ports = [(0, 0xFFFF) if low == high else (low, high) for low, high in ports]
        packed = layout.KIND.pack(*masks, *ports[0], *ports[1], row.proto)
        size = layout.KIND_BYTES
        kinds = bytes(self.memory[self.kinds : self.kinds + self.kinds_number * size])
        at = kinds.find(packed, size)
        while at > 0 and at % size:
            at = kinds.find(packed, at + 1)
        if at > 0:
            return at // size
        if self.kinds_number == self.kinds_room:
            return None
        self.memory[self.kinds + len(kinds) : self.kinds + len(kinds) + size] = packed
        self.kinds_number += 1
        return int(self.kinds_number) - 1

    def _record(self, row: Row, kind: int) -> bytes:
        values = [row.values[word] for word in self.key.compared]
        head = layout.RECORD_HEAD.pack(row.order << 8 | kind >> 8, row.pc << 8 | kind & 0xFF)
        return head + struct.pack(f"={len(values)}I", *values)

    # Write a run again, with one record more; give how many steps it takes more, 0 if there
    # is no room.
    def _grow(self, entry_at: int, order: int, record: bytes) -> int:
        old, width = self._records(entry_at), len(record)
        orders = [layout.RECORD_HEAD.unpack_from(self.memory, each)[0] >> 8 for each in old]
        split = old.start + width * sum(each < order for each in orders)
        count = len(old) + 1
        header = b""
        if count > layout.RUN_MAX:
            header = layout.LONG_RUN.pack(count, 1 << count.bit_length() - 1)
        run = b"".join(
            (header, self.memory[old.start : split], record, self.memory[split : old.stop])
        )
        if old.stop == self.free:  # written last time: over it
            self.free = old.start - (layout.LONG_RUN.size if len(old) > layout.RUN_MAX else 0)
        if self.free + len(run) > self.end:
            return 0
        self.memory[self.free : self.free + len(run)] = run
        entry = self.free // layout.UNIT << layout.COUNT_BITS
        layout.ENTRY.pack_into(
            self.memory, entry_at, entry | (layout.ENTRY_LONG if header else count)
        )
        self.free += len(run)
        return _steps(count) - _steps(count - 1)

    # The lowest order in a tuple or a later one; the most steps a bucket takes.
    def _raise_bounds(self, descriptor: int, number: int, order: int, steps: int) -> None:
        table = layout.DESCRIPTOR.unpack_from(self.memory, descriptor)[3]
        for each in range(number + 1):
            at = table + each * self.stride
            base, shift, lowest, longest = layout.TUPLE.unpack_from(self.memory, at)
            if each == number:
                longest += steps
            layout.TUPLE.pack_into(self.memory, at, base, shift, min(lowest, order), longest)

    # Have the pruners let packets of this row pass to its tuple, and all views that share
    # the index, whose descriptors are the same, search it.
    def _admit(self, descriptor: int, number: int, row: Row) -> None:
        was = bytes(self.memory[descriptor : descriptor + layout.DESCRIPTOR_BYTES])
        searched, _, pruners, _, table, *_ = layout.DESCRIPTOR.unpack(was)
        for view in range(layout.VIEWS):
            at = descriptor + view * layout.DESCRIPTOR_BYTES
            if self.memory[at : at + layout.DESCRIPTOR_BYTES] == was:
                layout.SET.pack_into(self.memory, at, searched | 1 << number)
        for at in range(table, table + pruners * self.stride, self.stride):
            base, shift, always = layout.PRUNER.unpack_from(self.memory, at)
            if always >> number & 1:
                continue
            masks = zip(row.values, self._masks(at), strict=True)
            here = base + 8 * (layout.hash_words(v & m for v, m in masks) >> shift)
            (tuples,) = layout.SET.unpack_from(self.memory, here)
            layout.SET.pack_into(self.memory, here, tuples | 1 << number)

    def _save(self) -> None:
        layout.HEADER.pack_into(
            self.memory,
            0,
            layout.MAGIC,
            self.free,
            self.end,
            self.kinds,
            self.kinds_number,
            self.kinds_room,
        )


def _steps(count: int) -> int:
    # Of a run: its records, and those that halving a long one looks at.
    return count + (count.bit_length() if count > layout.RUN_MAX else 0)


def _offset(entry: int) -> int:
    return (entry >> layout.COUNT_BITS) * layout.UNIT
