"""Single operations that a search is emitted of, and what it keeps on the stack."""

from __future__ import annotations

from bpfilter.asm.alu import signed
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R10, Reg, Size
from bpfilter.compiler import frame
from bpfilter.compiler.cells import Place
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.search import INDEX_MAP, Search

# Pairs, whose second one is always stored last: the verifier remembers a number stored at a
# multiple of 8 until there is a store beside it, and would tell apart states by it. By GATHERED,
# the number of the batch, it has to: so it sees that batches come to an end.
DESCRIPTOR, FROM, BEST_CELL, BEST, RUN, LEFT, SKIP, _, GATHERED, _ = range(
    frame.SEARCH, frame.ENTRIES, 4
)


class Operations:
    """Emits single operations; `drop_now` is where to go when something is out of bounds."""

    def __init__(self, b: Builder, layout: Frame, search: Search) -> None:
        self.b = b
        self.layout = layout
        self.search = search

    def _is_set(self, dst: Reg, word: Reg, mask: int) -> None:
        # dst = 1 if any bit of a mask is set, else 0
        b = self.b
        b.mov(dst, word)
        b.and_(dst, signed(mask, 32))
        b.neg(dst)
        b.rsh(dst, 63)

    def _nothing(self, dst: Reg) -> None:
        # A zero that the verifier cannot see through: x & ~x of the packet's length.
        b = self.b
        b.load(dst, R10, self.layout.offset(frame.BYTES))
        b.mov(R0, dst)
        b.xor(R0, -1)
        b.and_(dst, R0)

    def _point(self, dst: Reg, offset: Reg, width: int) -> None:
        # dst = where `width` bytes at an offset in the index are; not the same register, as the
        # verifier bounds the pointer by the offset
        b = self.b
        b.jgt(offset, self.search.size - width, "drop_now")
        b.load_map_value(dst, INDEX_MAP)
        b.add(dst, offset)

    def _word(self, dst: Reg, slot: int) -> None:
        self.b.load(dst, R10, self.layout.word_offset(slot), Size.W)

    def _field(self, dst: Reg, place: Place) -> None:
        self._word(dst, place.slot)
        if place.shift:
            self.b.rsh(dst, place.shift)
        if place.shift + place.bits < 32:
            self.b.and_(dst, (1 << place.bits) - 1)

    def _load(self, dst: Reg, member: int) -> None:
        self.b.load(dst, R10, self.layout.offset(member), Size.W)

    def _store(self, member: int, src: Reg) -> None:
        self.b.store(R10, self.layout.offset(member), src, Size.W)
