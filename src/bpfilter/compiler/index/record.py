"""Comparing a record of an index with the packet."""

from __future__ import annotations

from bpfilter.asm.insn import R2, R3, R4, R5, R6, R7, Size
from bpfilter.compiler.index.layout import FORM_BYTES, KIND_BYTES, RECORD_HEAD
from bpfilter.compiler.index.operations import BEST, BEST_CELL, FROM, Operations
from bpfilter.compiler.index.search import INDEX_MAP

#: Where a record has the number of its form, and above it the lower bits of its kind's.
FORM_AT, FORM_MASK, KIND_SHIFT = 8, 0xFFFF, 16


class RecordEmitter(Operations):
    """Emits what looks at one record."""

    def _record(self, other: str) -> None:
        # R0 and R1 are kept
        b = self.b
        b.load(R3, R7, 0, Size.W)
        b.rsh(R3, 8)
        self._load(R4, BEST)
        b.jge(R3, R4, "visited")
        self._load(R4, FROM)
        b.jlt(R3, R4, other)
        self._compare_words(other)
        self._compare_ports(other)
        b.load(R3, R7, 0, Size.W)
        b.rsh(R3, 8)
        b.load(R5, R7, 4, Size.W)
        b.rsh(R5, 8)
        self._store(BEST_CELL, R5)
        self._store(BEST, R3)
        b.jump("visited")

    # All words of the record R7 first, then the rest: two branches are foreseen better than
    # seven.
    def _compare_words(self, other: str) -> None:
        b = self.b
        b.load(R2, R7, FORM_AT, Size.W)
        b.and_(R2, FORM_MASK)
        self._pooled(self.search.forms, FORM_BYTES)
        for number, slot in enumerate(self.search.compared):
            into = R5 if number == 0 else R2
            self._word(into, slot)
            b.load(R6, R4, 4 * number, Size.W)
            b.and_(into, R6)
            b.load(R6, R7, RECORD_HEAD.size + 4 * number, Size.W)
            b.xor(into, R6)
            if number:
                b.or_(R5, R2)
        if self.search.compared:
            b.jne(R5, 0, other)

    # R4 = the R2th structure of a pool
    def _pooled(self, offset: int, size: int) -> None:
        b = self.b
        b.lsh(R2, size.bit_length() - 1)
        b.jgt(R2, self.search.size - offset - size, "drop_now")
        b.load_map_value(R4, INDEX_MAP, offset)
        b.add(R4, R2)

    def _compare_ports(self, other: str) -> None:
        b, search = self.b, self.search
        b.load(R2, R7, 0, Size.W)
        b.and_(R2, 0xFF)
        b.lsh(R2, KIND_SHIFT)
        b.load(R5, R7, FORM_AT, Size.W)
        b.rsh(R5, KIND_SHIFT)
        b.or_(R2, R5)
        self._pooled(search.kinds, KIND_BYTES)
        b.mov(R3, 0)
        for place, low in ((search.sport, 0), (search.dport, 4)):
            if place is not None:
                # the highest bit tells that one of two differences is negative
                self._field(R5, place)
                b.mov(R2, R5)
                b.load(R6, R4, low, Size.H)
                b.sub(R2, R6)
                b.or_(R3, R2)
                b.load(R6, R4, low + 2, Size.H)
                b.sub(R6, R5)
                b.or_(R3, R6)
        b.rsh(R3, 63)
        if search.proto is not None:
            # any protocol is 0, and so is then the product
            b.load(R5, R4, 8, Size.B)
            self._field(R2, search.proto)
            b.xor(R2, R5)
            b.mul(R2, R5)
            b.or_(R3, R2)
        b.jne(R3, 0, other)
