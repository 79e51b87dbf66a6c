"""The search of an index as eBPF: a part of the evaluation loop, the same for all rules.

A FIND cell begins a search: it takes the descriptor that goes with the packet's guards, and
lets the pruners strike tuples out of its set. Each step of the loop then probes one tuple,
or reads some more records of a long run, until no tuple is left; evaluation goes on at the
cell of the best record, or at the descriptor's end. index/walk.py is the same in Python.

While a search lasts R9 holds the tuples still to be probed, the one at hand among them;
R6 is free, and counts pruners. Every offset read from the index is bounded before use.
"""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R6, R7, R9, R10, Reg, Size
from bpfilter.compiler import frame
from bpfilter.compiler.cells import Place
from bpfilter.compiler.count import emit_count
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.layout import (
    COUNT_BITS,
    COUNT_MASK,
    CUT,
    DESCRIPTOR_BYTES,
    ENTRY_CUT,
    ENTRY_LONG,
    KIND_BYTES,
    LONG_RUN,
    MULTIPLIERS,
    PRUNERS_MAX,
    UNIT,
    stride,
)
from bpfilter.compiler.index.search import (
    DE_BRUIJN,
    INDEX_MAP,
    VERDICT,
    VERDICT_ACCEPT,
    VERDICT_COUNTER,
    Guards,
    Search,
)

#: Records looked at in one step.
RECORDS_A_STEP = 2
#: Instead of how many records are left: there is the entry of a cut's child.
CHILD = -1

# Pairs, whose second one is always stored last: the verifier remembers a number stored at a
# multiple of 8 until there is a store beside it, and would tell apart states by it.
DESCRIPTOR, FROM, BEST_CELL, BEST, RUN, LEFT, SKIP, _ = range(frame.SEARCH, frame.RETURNS, 4)


class SearchEmitter:
    """Emits `find` and `search` for the loop, which it leaves to `step` or `drop_now`."""

    def __init__(self, b: Builder, layout: Frame, search: Search) -> None:
        self.b = b
        self.layout = layout
        self.search = search

    def emit(self) -> None:
        self._find()
        self._probe()
        self._scan()
        self._skip()
        self._cut()
        self._finish()

    def _find(self) -> None:
        # R7 is the cell: from order `lo`, descriptors at `hi`
        b = self.b
        b.label("find")
        b.load(R1, R7, 8, Size.W)
        b.load(R2, R7, 12, Size.W)
        if self.search.guards:
            self._view(self.search.guards)
        self._store(DESCRIPTOR, R2)
        self._store(FROM, R1)
        self._point(R7, R2, DESCRIPTOR_BYTES)
        b.load(R9, R7, 0)
        b.load(R1, R7, 8, Size.W)
        self._store(BEST_CELL, R1)
        b.mov(R1, -1)
        self._store(BEST, R1)
        b.jeq(R9, 0, "found")
        b.load(R6, R7, 12, Size.W)
        b.jeq(R6, 0, "probe")
        self._prune()

    def _view(self, guards: Guards) -> None:
        # R2 += DESCRIPTOR_BYTES * view (views.py), without branches: few packets come here, but
        # the verifier would follow each way through all that comes after.
        b = self.b
        done = b.fresh("view")
        self._word(R3, guards.slot)
        b.and_(R3, _signed(guards.all))
        b.jeq(R3, 0, done)
        self._is_set(R4, R3, guards.specific & 0xAAAA_AAAA)  # drops
        self._is_set(R5, R3, guards.specific & 0x5555_5555)  # fails
        b.mov(R0, R4)
        b.xor(R0, 1)
        b.and_(R5, R0)
        b.lsh(R4, 1)
        b.or_(R4, R5)
        if guards.ports_shift is not None:
            b.mov(R5, R3)
            b.rsh(R5, guards.ports_shift)
            b.and_(R5, 3)
            b.mul(R5, 3)
            b.add(R4, R5)
        if guards.walk_shift is not None:
            self._is_set(R5, R3, 3 << guards.walk_shift)
            b.mov(R0, R5)
            b.xor(R0, 1)
            b.mul(R4, R0)
            b.lsh(R5, 3)
            b.add(R4, R5)
            b.rsh(R3, guards.walk_shift)
            b.and_(R3, 3)
            b.add(R4, R3)
        b.mul(R4, DESCRIPTOR_BYTES)
        b.add(R2, R4)
        self._store(DESCRIPTOR, R2)
        self._store(FROM, R1)
        self._load(R2, DESCRIPTOR)
        b.label(done)

    def _is_set(self, dst: Reg, word: Reg, mask: int) -> None:
        # dst = 1 if any bit of a mask is set, else 0
        b = self.b
        b.mov(dst, word)
        b.and_(dst, _signed(mask))
        b.neg(dst)
        b.rsh(dst, 63)

    def _prune(self) -> None:
        b = self.b
        step = stride(len(self.search.keys))
        b.load(R2, R7, 20, Size.W)
        self._point(R7, R2, PRUNERS_MAX * step)
        for number in range(PRUNERS_MAX):
            if number:
                b.add(R7, step)
            self._hash()
            b.lsh(R0, 3)
            self._at(R1, R0, R7, 8)
            b.load(R1, R1, 0)
            b.load(R2, R7, 8)
            b.or_(R1, R2)
            b.and_(R9, R1)
            b.jeq(R9, 0, "found")
            b.sub(R6, 1)
            b.jeq(R6, 0, "probe")
        b.jump("drop_now")

    # R0 = Σ (word & mask) * multiplier >> shift, of the tuple or pruner at R7
    def _hash(self) -> None:
        b = self.b
        for number, slot in enumerate(self.search.keys):
            into = R0 if number == 0 else R1
            self._word(into, slot)
            b.load(R2, R7, 16 + 4 * number, Size.W)
            b.and_(into, R2)
            b.imm64(R2, MULTIPLIERS[number])
            b.mul(into, R2)
            if number:
                b.add(R0, R1)
        b.load(R1, R7, 4, Size.W)
        b.and_(R1, 63)
        b.rsh(R0, R1)

    def _probe(self) -> None:
        b = self.b
        b.label("search")
        self._load(R1, LEFT)
        b.jeq(R1, 0, "probe")
        self._load(R0, RUN)
        b.jeq32(R1, CHILD, "entry")
        self._load(R2, SKIP)
        b.jne(R2, 0, "skip")
        b.jump("scan")
        b.label("probe")
        self._lowest_tuple()
        b.load(R2, R7, 8, Size.W)
        self._load(R3, BEST)
        b.jgt(R2, R3, "found")
        self._hash()
        b.lsh(R0, 2)
        self._at(R1, R0, R7, 4)
        b.load(R0, R1, 0, Size.W)
        b.label("entry")
        b.jeq(R0, 0, "probed")
        b.mov(R1, R0)
        b.and_(R1, COUNT_MASK)
        b.rsh(R0, COUNT_BITS)
        b.lsh(R0, UNIT.bit_length() - 1)
        b.jeq(R1, ENTRY_CUT, "cut")
        b.jne(R1, ENTRY_LONG, "run")
        self._point(R2, R0, LONG_RUN.size)
        b.load(R1, R2, 0, Size.W)
        b.load(R3, R2, 4, Size.W)
        b.add(R0, LONG_RUN.size)
        self._load(R2, FROM)
        b.jeq(R2, 0, "run")
        self._store(SKIP, R3)
        self._store(SKIP + 4, R3)
        self._store(RUN, R0)
        self._store(LEFT, R1)
        b.mov(R6, 0)
        b.jump("step")
        b.label("run")
        # Through memory, so that the verifier looks at the records once for all runs.
        self._store(RUN, R0)
        self._store(LEFT, R1)

    def _lowest_tuple(self) -> None:
        # R7 = the tuple of the lowest bit of R9
        b = self.b
        step = stride(len(self.search.keys))
        b.mov(R1, R9)
        b.neg(R1)
        b.and_(R1, R9)
        b.imm64(R2, DE_BRUIJN)
        b.mul(R1, R2)
        b.rsh(R1, 58)
        b.load_map_value(R2, INDEX_MAP, self.search.bit_numbers)
        b.add(R2, R1)
        b.load(R1, R2, 0, Size.B)
        b.mul(R1, step)
        self._load(R2, DESCRIPTOR)
        self._point(R3, R2, DESCRIPTOR_BYTES)
        b.load(R2, R3, 16, Size.W)
        b.add(R2, R1)
        self._point(R7, R2, step)

    def _cut(self) -> None:
        # R0 is where the cut lies; the child's entry is looked at in the next step
        b = self.b
        b.label("cut")
        self._point(R2, R0, CUT.size)
        b.load(R4, R2, 0, Size.B)
        for key, slot in enumerate(self.search.keys):
            b.jne(R4, key, f"cut_not{key}")
            self._word(R3, slot)
            b.jump("cut_word")
            b.label(f"cut_not{key}")
        b.jump("drop_now")
        b.label("cut_word")
        b.load(R4, R2, 1, Size.B)
        b.and_(R4, 31)
        b.rsh(R3, R4)
        b.load(R4, R2, 2, Size.B)
        b.and_(R4, 15)
        b.mov(R5, 1)
        b.lsh(R5, R4)
        b.sub(R5, 1)
        b.and_(R3, R5)
        b.lsh(R3, 2)
        b.load(R0, R2, 4, Size.W)
        b.add(R3, R0)
        self._point(R1, R3, 4)
        b.load(R0, R1, 0, Size.W)
        b.jeq(R0, 0, "scanned")
        b.mov(R1, CHILD)
        self._store(RUN, R0)
        self._store(LEFT, R1)
        b.mov(R6, 0)
        b.jump("step")

    def _scan(self) -> None:
        # R0: offset of the next record, R1: how many are left
        b = self.b
        self._load(R0, RUN)
        self._load(R1, LEFT)
        b.label("scan")
        width = self.search.record_bytes
        for number in range(RECORDS_A_STEP):
            self._point(R7, R0, width)
            self._record(f"record{number}")
            b.label(f"record{number}")
            b.add(R0, width)
            b.sub(R1, 1)
            b.jeq(R1, 0, "scanned")
        self._store(RUN, R0)
        self._store(LEFT, R1)
        b.mov(R6, 0)
        b.jump("step")

    def _skip(self) -> None:
        # Of a long run, leave out the records before FROM: in the next SKIP ones, half as many
        # with each step, the last is still before it or not.
        b = self.b
        width = self.search.record_bytes
        b.label("skip")
        b.mov(R3, R2)
        b.rsh(R3, 1)
        self._store(SKIP, R3)
        self._store(SKIP + 4, R3)
        b.mov(R6, 0)
        b.jgt(R2, R1, "step")
        b.mov(R3, R2)
        b.mul(R3, width)
        b.add(R3, R0)
        b.mov(R5, R3)
        b.sub(R5, width)
        self._point(R4, R5, width)
        b.load(R4, R4, 0, Size.W)
        b.rsh(R4, 8)
        self._load(R5, FROM)
        b.jge(R4, R5, "step")
        b.sub(R1, R2)
        b.jeq(R1, 0, "skipped")
        self._store(RUN, R3)
        self._store(LEFT, R1)
        b.jump("step")
        b.label("skipped")
        self._nothing(R1)
        self._store(SKIP, R1)
        self._store(SKIP + 4, R1)
        b.jump("scanned")

    def _record(self, other: str) -> None:
        # R0 and R1 are kept
        b, search = self.b, self.search
        b.load(R2, R7, 0, Size.W)
        b.mov(R3, R2)
        b.rsh(R3, 8)
        self._load(R4, BEST)
        b.jge(R3, R4, "scanned")
        self._load(R4, FROM)
        b.jlt(R3, R4, other)
        b.load(R5, R7, 4, Size.W)
        b.and_(R2, 0xFF)
        b.lsh(R2, 8)
        b.and_(R5, 0xFF)
        b.or_(R2, R5)
        b.lsh(R2, KIND_BYTES.bit_length() - 1)
        b.jgt(R2, search.size - search.kinds - KIND_BYTES, "drop_now")
        b.load_map_value(R4, INDEX_MAP, search.kinds)
        b.add(R4, R2)
        for number, slot in enumerate(search.compared):
            self._word(R2, slot)
            b.load(R5, R4, 4 * number, Size.W)
            b.and_(R2, R5)
            b.load(R5, R7, 8 + 4 * number, Size.W)
            b.jne(R2, R5, other)
        for place, low in ((search.sport, 12), (search.dport, 16)):
            if place is not None:
                self._field(R2, place)
                b.load(R5, R4, low, Size.H)
                b.jlt(R2, R5, other)
                b.load(R5, R4, low + 2, Size.H)
                b.jgt(R2, R5, other)
        if search.proto is not None:
            b.load(R5, R4, 20, Size.B)
            b.jeq(R5, 0, f"{other}_match")
            self._field(R2, search.proto)
            b.jne(R2, R5, other)
            b.label(f"{other}_match")
        b.load(R5, R7, 4, Size.W)
        b.rsh(R5, 8)
        self._store(BEST_CELL, R5)
        self._store(BEST, R3)
        b.jump("scanned")

    def _finish(self) -> None:
        b = self.b
        b.label("scanned")
        self._nothing(R1)
        self._store(LEFT, R1)
        b.label("probed")
        b.mov(R6, 0)
        b.mov(R1, R9)
        b.sub(R1, 1)
        b.and_(R9, R1)
        b.jne(R9, 0, "step")
        b.label("found")
        self._nothing(R9)
        self._load(R6, BEST_CELL)
        b.mov(R1, R6)
        b.and_(R1, VERDICT)
        b.jeq(R1, 0, "step")
        b.mov(R3, R6)
        b.and_(R3, VERDICT_COUNTER)
        emit_count(b, self.layout, self.search.counters)
        b.and_(R6, VERDICT_ACCEPT)
        b.jeq(R6, 0, "drop_now")
        b.jump("accept_now")

    def _nothing(self, dst: Reg) -> None:
        # A zero that the verifier cannot see through: x & ~x of the packet's length.
        b = self.b
        b.load(dst, R10, self.layout.offset(frame.BYTES))
        b.mov(R0, dst)
        b.xor(R0, -1)
        b.and_(dst, R0)

    # Below: single operations

    def _point(self, dst: Reg, offset: Reg, width: int) -> None:
        # dst = where `width` bytes at an offset in the index are; not the same register, as the
        # verifier bounds the pointer by the offset
        b = self.b
        b.jgt(offset, self.search.size - width, "drop_now")
        b.load_map_value(dst, INDEX_MAP)
        b.add(dst, offset)

    def _at(self, dst: Reg, offset: Reg, table: Reg, width: int) -> None:
        # dst = where `width` bytes at an offset from the base of a tuple or pruner are
        self.b.load(dst, table, 0, Size.W)
        self.b.add(offset, dst)
        self._point(dst, offset, width)

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


def _signed(mask: int) -> int:
    return mask - (1 << 32) if mask >= 1 << 31 else mask
