"""The search of an index as eBPF: a part of the evaluation loop, the same for all rules.

A FIND cell begins a search: it takes the descriptor that goes with the packet's guards, and
gathers the entries of up to BATCH tuples, without a branch, so that the processor fetches them
side by side. The masks of the tuples are in the instructions (gather.py). Each step of the loop
then goes where one of the entries leads, or reads some more records of a long run, until no
entry is left; evaluation goes on at the cell of the best record, or at the descriptor's end.
index/walk.py is the same in Python.

While a search lasts R9 holds the entries of the batch still to be visited, the one at hand
among them; R6 is free. Every offset read from the index is bounded before use.
"""

from __future__ import annotations

from bpfilter.asm.alu import signed
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R6, R7, R9, R10, Size
from bpfilter.compiler import frame
from bpfilter.compiler.count import emit_count
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.gather import emit_gather
from bpfilter.compiler.index.layout import (
    BATCH,
    COUNT_BITS,
    COUNT_MASK,
    CUT_SHIFT_BITS,
    CUT_SLOT_BITS,
    DESCRIPTOR_BYTES,
    ENTRY_BYTES,
    ENTRY_CUT,
    ENTRY_LONG,
    FIRST_AT,
    FIRST_MASK,
    FIRST_SHIFT,
    LONG_RUN,
    MAX_CUTS,
    TABLE_BYTES,
    UNIT,
    UPPER_AT,
)
from bpfilter.compiler.index.operations import (
    BEST,
    BEST_CELL,
    DESCRIPTOR,
    FROM,
    GATHERED,
    LEFT,
    RUN,
    SKIP,
)
from bpfilter.compiler.index.record import RecordEmitter
from bpfilter.compiler.index.search import (
    DE_BRUIJN,
    INDEX_MAP,
    VERDICT,
    VERDICT_ACCEPT,
    VERDICT_COUNTER,
    Guards,
    Search,
)
from bpfilter.compiler.steps import Steps

#: Records looked at in one step.
RECORDS_A_STEP = 2


class SearchEmitter(RecordEmitter):
    """Emits `find` and `search` for the loop, which it leaves to `step` or `drop_now`."""

    def __init__(self, b: Builder, layout: Frame, search: Search, steps: Steps) -> None:
        super().__init__(b, layout, search)
        self.steps = steps

    def emit(self) -> None:
        self._find()
        self._visit()
        self._leaf()
        self._scan()
        self._skip()
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
        b.load(R1, R7, 8, Size.W)
        self._store(BEST_CELL, R1)
        b.mov(R1, -1)
        self._store(BEST, R1)
        for number, first in enumerate(range(0, len(self.search.tuples), BATCH)):
            self._batch(number, first)

    # Gather the entries of some tuples, if the chain has tables for one of them.
    def _batch(self, number: int, first: int) -> None:
        b, tuples = self.b, self.search.tuples[first : first + BATCH]
        b.label(f"batch{number}")
        self._load(R2, DESCRIPTOR)
        self._point(R7, R2, DESCRIPTOR_BYTES)
        b.load(R1, R7, 0)
        b.rsh(R1, first)
        b.and_(R1, (1 << len(tuples)) - 1)
        b.jeq(R1, 0, self._behind(number))
        b.mov(R3, R1)
        b.load(R2, R7, 12, Size.W)
        self._point(R7, R2, (first + len(tuples)) * TABLE_BYTES)
        emit_gather(b, self.layout, self.search, first, tuples)
        self._nothing(R9)
        b.or_(R9, R6)
        b.mov(R1, number)
        self._store(GATHERED, R1)
        b.jne(R9, 0, "visit")
        b.jump(self._behind(number))

    def _behind(self, number: int) -> str:
        is_last = (number + 1) * BATCH >= len(self.search.tuples)
        return "found" if is_last else f"batch{number + 1}"

    def _view(self, guards: Guards) -> None:
        # R2 += DESCRIPTOR_BYTES * view (views.py), without branches: few packets come here, but
        # the verifier would follow each way through all that comes after.
        b = self.b
        done = b.fresh("view")
        self._word(R3, guards.slot)
        b.and_(R3, signed(guards.all, 32))
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

    def _visit(self) -> None:
        # R0 = an entry of the batch, and behind cuts the one that they lead to
        b = self.b
        b.label("visit")
        self._step()
        b.mov(R1, R9)
        b.neg(R1)
        b.and_(R1, R9)
        b.imm64(R2, DE_BRUIJN)
        b.mul(R1, R2)
        b.rsh(R1, 58)
        b.load_map_value(R2, INDEX_MAP, self.search.bit_numbers)
        b.add(R2, R1)
        b.load(R1, R2, 0, Size.B)
        b.and_(R1, BATCH - 1)
        b.lsh(R1, ENTRY_BYTES.bit_length() - 1)
        b.add(R1, R10)
        b.load(R0, R1, self.layout.offset(frame.ENTRIES))
        self._load(R4, BEST)
        b.rsh(R4, FIRST_SHIFT)
        self._is_behind_best("visited")
        for _ in range(MAX_CUTS):
            b.jne(R1, ENTRY_CUT, "leaf")
            self._cut()
            self._is_behind_best("visited")
        b.jeq(R1, ENTRY_CUT, "drop_now")

    # R1 = count of the entry R0, unless no record behind it can be better than R4.
    def _is_behind_best(self, then: str) -> None:
        b = self.b
        b.mov(R1, R0)
        b.rsh(R1, FIRST_AT)
        b.and_(R1, FIRST_MASK)
        b.jgt(R1, R4, then)
        b.mov(R1, R0)
        b.and_(R1, COUNT_MASK)
        b.jeq(R1, 0, then)

    def _cut(self) -> None:
        # R0 = the child's entry; R4 is kept
        b = self.b
        b.mov(R2, R0)
        b.rsh(R2, UPPER_AT)
        b.mov(R3, R2)
        b.and_(R3, (1 << CUT_SLOT_BITS) - 1)
        b.jgt(R3, len(self.layout.slots) - 1, "drop_now")
        b.lsh(R3, 2)
        b.add(R3, R10)
        b.load(R3, R3, self.layout.word_offset(0), Size.W)
        b.rsh(R2, CUT_SLOT_BITS)
        b.mov(R5, R2)
        b.and_(R5, (1 << CUT_SHIFT_BITS) - 1)
        b.rsh(R3, R5)
        b.rsh(R2, CUT_SHIFT_BITS)
        b.mov(R5, 1)
        b.lsh(R5, R2)
        b.sub(R5, 1)
        b.and_(R3, R5)
        b.lsh(R3, ENTRY_BYTES.bit_length() - 1)
        self._offset()
        b.add(R3, R0)
        self._point(R2, R3, ENTRY_BYTES)
        b.load(R0, R2, 0)

    def _offset(self) -> None:
        # R0 = where its entry leads
        b = self.b
        b.lsh(R0, 32)
        b.rsh(R0, 32 + COUNT_BITS)
        b.lsh(R0, UNIT.bit_length() - 1)

    def _leaf(self) -> None:
        # R0 is an entry that leads to R1 records, or to a long run
        b = self.b
        b.label("leaf")
        self._offset()
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
        b.jump("skip")
        b.label("run")
        # Through memory, so that the verifier looks at the records once for all runs.
        self._store(RUN, R0)
        self._store(LEFT, R1)

    def _scan(self) -> None:
        # R0: offset of the next record, R1: how many are left
        b = self.b
        b.label("scan")
        self._step()
        self._load(R0, RUN)
        self._load(R1, LEFT)
        width = self.search.record_bytes
        for number in range(RECORDS_A_STEP):
            self._point(R7, R0, width)
            self._record(f"record{number}")
            b.label(f"record{number}")
            b.add(R0, width)
            b.sub(R1, 1)
            b.jeq(R1, 0, "visited")
        self._store(RUN, R0)
        self._store(LEFT, R1)
        b.jump("scan")

    def _skip(self) -> None:
        # Of a long run, leave out the records before FROM: in the next SKIP ones, half as many
        # with each step, the last is still before it or not.
        b = self.b
        width = self.search.record_bytes
        b.label("skip")
        self._step()
        self._load(R0, RUN)
        self._load(R1, LEFT)
        self._load(R2, SKIP)
        b.jeq(R2, 0, "scan")
        b.mov(R3, R2)
        b.rsh(R3, 1)
        self._store(SKIP, R3)
        self._store(SKIP + 4, R3)
        b.jgt(R2, R1, "skip")
        b.mov(R3, R2)
        b.mul(R3, width)
        b.add(R3, R0)
        b.mov(R5, R3)
        b.sub(R5, width)
        self._point(R4, R5, width)
        b.load(R4, R4, 0, Size.W)
        b.rsh(R4, 8)
        self._load(R5, FROM)
        b.jge(R4, R5, "skip")
        b.sub(R1, R2)
        b.jeq(R1, 0, "visited")
        self._store(RUN, R3)
        self._store(LEFT, R1)
        b.jump("skip")

    def _finish(self) -> None:
        b = self.b
        b.label("visited")
        b.mov(R1, R9)
        b.sub(R1, 1)
        b.and_(R9, R1)
        b.jne(R9, 0, "visit")
        batches = range(1, -(-len(self.search.tuples) // BATCH))
        if batches:
            self._load(R1, GATHERED)
        for number in batches:
            b.jeq(R1, number - 1, f"batch{number}")
        b.label("found")
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

    def _step(self) -> None:
        self.steps.step("exhausted", (R6, R7))
