"""Change an index in place: a record put in or made void, without numpy or building anew.

What is changed is a copy that no packet is searched in yet. A run grows by being written
again behind everything else, where the builder has left room (layout.py's header); a record
goes by getting a form that nothing matches, since runs may be shared.

A row is put into the most telling tuple whose masks are part of its own, if the chain has a
table for it. It has one for the tuple that tests nothing, the last, in any case.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.layout import FILTER_BITS, Entry, KeyWords, Pool, Record, Tuple
from bpfilter.dataclass import dataclass

#: A row that is in more runs than this is better put in by building the index anew.
MAX_RUNS = 64
#: The number of the form that asks nothing: no packet matches it with a value other than 0.
VOID_FORM = 0


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

    def __init__(self, memory: memoryview, key: KeyWords, tuples: Sequence[Tuple]) -> None:
        self.memory = memory
        self.key = key
        self.tuples = tuples
        _, self.free, self.end, *pools = layout.HEADER.unpack_from(memory)
        self.kinds, self.forms = Pool(*pools[:3]), Pool(*pools[3:])
        self.free = -(-self.free // layout.UNIT) * layout.UNIT

    def insert(self, descriptor: int, row: Row) -> bool:
        """Put a row in one view's index; if False, the index may be half changed."""
        record = self._record(row)
        if record is None:
            return False
        for number in self._tuples(descriptor, row):
            paths = list(self._paths(descriptor, number, row))
            if len(paths) <= MAX_RUNS:
                steps = [self._grow(path[-1], row.order, record) for path in paths]
                for path in paths:
                    self._admit(path, self.tuples[number], row)
                self._lengthen(descriptor, number, max(steps, default=0))
                self._save()
                return 0 not in steps
        return False

    def remove(self, descriptor: int, row: Row) -> bool:
        """Make a row's records void. False if others were left out for it, or if it is nowhere,
        though there is none that it could have been left out for."""
        fields = layout.DESCRIPTOR.unpack_from(self.memory, descriptor)
        hiders = struct.unpack_from(f"={fields[4]}I", self.memory, fields[3])
        if row.order in hiders:
            return False
        found = min(hiders, default=row.order) < row.order
        for number in self._tuples(descriptor, row):
            for path in self._paths(descriptor, number, row):
                for at in self._records(path[-1]):
                    record = Record.read(self.memory, at)
                    if record.order == row.order:
                        head = record._replace(form=VOID_FORM).pack()
                        self.memory[at : at + len(head) + 4] = head + struct.pack("=I", 1)
                        found = True
        return found

    # What is where

    # Tuples that may hold a row, the most telling first: by number.
    def _tuples(self, descriptor: int, row: Row) -> list[int]:
        found = []
        for number, each in enumerate(self.tuples):
            fits = all(m & theirs == m for m, theirs in zip(each.masks, row.masks, strict=True))
            if fits and self._table(descriptor, number)[1] != layout.EMPTY:
                found.append((-sum(mask.bit_count() for mask in each.masks), number))
        return [number for _, number in sorted(found)]

    # Where a table is; offset of its entries, shift, longest.
    def _table(self, descriptor: int, number: int) -> tuple[int, int, int, int]:
        tables = layout.DESCRIPTOR.unpack_from(self.memory, descriptor)[2]
        at = tables + number * layout.TABLE_BYTES
        entries, shift, longest = layout.TABLE.unpack_from(self.memory, at)
        return at, entries, shift, longest

    # The entries that lead to each run a row belongs in, one behind the other: behind cuts,
    # those of all children that its masks allow.
    def _paths(self, descriptor: int, number: int, row: Row) -> Iterator[list[int]]:
        _, entries, shift, _ = self._table(descriptor, number)
        masks = self.tuples[number].masks
        masked = (value & mask for value, mask in zip(row.values, masks, strict=True))
        todo = [[entries + layout.ENTRY_BYTES * (layout.hash_words(masked) >> shift)]]
        while todo:
            path = todo.pop()
            entry = Entry.read(self.memory, path[-1])
            if entry.count != layout.ENTRY_CUT:
                yield path
                continue
            slot, shift, bits = entry.cut
            word = self.key.slots.index(slot)
            children = self._children(row, word, shift, bits)
            todo += [[*path, entry.offset + layout.ENTRY_BYTES * child] for child in children]

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
        entry = Entry.read(self.memory, entry_at)
        count, at = entry.count, entry.offset
        if count == layout.ENTRY_LONG:
            count, _ = layout.LONG_RUN.unpack_from(self.memory, at)
            at += layout.LONG_RUN.size
        width = self.key.record_bytes
        return range(at, at + count * width, width)

    # What is changed

    # None if there is no room for its form or its kind.
    def _record(self, row: Row) -> bytes | None:
        masks = [row.masks[word] for word in self.key.compared]
        masks += [0] * (layout.COMPARED_MAX - len(masks))
        ports = [row.sports, row.dports]
        if self.key.ports in self.key.compared:
            ports = [(0, 0xFFFF) if low == high else (low, high) for low, high in ports]
        form, self.forms = self._pooled(self.forms, layout.FORM.pack(*masks))
        asked = layout.KIND.pack(*ports[0], *ports[1], row.proto)
        kind, self.kinds = self._pooled(self.kinds, asked)
        if form is None or kind is None:
            return None
        values = [row.values[word] for word in self.key.compared]
        return Record(row.order, row.pc, form, kind).pack() + struct.pack(
            f"={len(values)}I", *values
        )

    # The number of a structure, and the pool that then has it.
    def _pooled(self, pool: Pool, packed: bytes) -> tuple[int | None, Pool]:
        size = len(packed)
        there = bytes(self.memory[pool.offset : pool.offset + pool.number * size])
        at = there.find(packed)
        while at >= 0 and at % size:
            at = there.find(packed, at + 1)
        if at >= 0:
            return at // size, pool
        if pool.number == pool.room:
            return None, pool
        end = pool.offset + len(there)
        self.memory[end : end + size] = packed
        return pool.number, pool._replace(number=pool.number + 1)

    # Write a run again, with one record more; give how many steps it takes more, 0 if there
    # is no room.
    def _grow(self, entry_at: int, order: int, record: bytes) -> int:
        old, width = self._records(entry_at), len(record)
        orders = [Record.read(self.memory, each).order for each in old]
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
        entry = Entry.read(self.memory, entry_at)
        entry.offset, entry.count = self.free, layout.ENTRY_LONG if header else count
        entry.write(self.memory, entry_at)
        self.free += len(run)
        return _steps(count) - _steps(count - 1)

    # Have entries lead a row's packets on to its run, the last of which has grown.
    def _admit(self, path: Sequence[int], of: Tuple, row: Row) -> None:
        for depth, at in enumerate(path):
            entry = Entry.read(self.memory, at)
            is_new = len(self._records(at)) == 1 if entry.count != layout.ENTRY_CUT else False
            first = row.order >> layout.FIRST_SHIFT
            entry.first = first if is_new else min(entry.first, first)
            if depth == 0 and entry.count != layout.ENTRY_CUT:
                values = self._children(row, of.window_word, of.window_shift, FILTER_BITS)
                entry.upper |= sum(1 << value for value in values)
            entry.write(self.memory, at)

    # A tuple's bucket takes so many steps more; all views that share the index, whose
    # descriptors are the same, search the tuple.
    def _lengthen(self, descriptor: int, number: int, steps: int) -> None:
        at, entries, shift, longest = self._table(descriptor, number)
        layout.TABLE.pack_into(self.memory, at, entries, shift, longest + steps)
        was = bytes(self.memory[descriptor : descriptor + layout.DESCRIPTOR_BYTES])
        searched = layout.SET.unpack_from(was)[0] | 1 << number
        for view in range(layout.VIEWS):
            at = descriptor + view * layout.DESCRIPTOR_BYTES
            if self.memory[at : at + layout.DESCRIPTOR_BYTES] == was:
                layout.SET.pack_into(self.memory, at, searched)

    def _save(self) -> None:
        counts = (self.free, self.end, *self.kinds, *self.forms)
        layout.HEADER.pack_into(self.memory, 0, layout.MAGIC, *counts)


def _steps(count: int) -> int:
    # Of a run: its records, and those that halving a long one looks at.
    return count + (count.bit_length() if count > layout.RUN_MAX else 0)
