"""The fixed loop that evaluates cells: the same instructions for any number of rules.

`bpf_loop` calls it once per cell with the frame of the main program (frame.py) until
it returns 1. Everything read from a cell is bounded before use, so the verifier
needs to know nothing of the rules; what is out of bounds ends the loop with
the verdict as it stands, NF_DROP.
"""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, Size
from bpfilter.compiler import frame
from bpfilter.compiler.cells import CELL_BYTES, Op
from bpfilter.compiler.lower import STACK_DEPTH

CELLS_MAP = "cells"
COUNTERS_MAP = "counters"
COUNTER_BYTES = 16

NF_DROP = 0
NF_ACCEPT = 1

CONTINUE_LOOP = 0
END_LOOP = 1


def emit_loop_callback(b: Builder, words: int, cells: int, counters: int) -> None:
    """Emit `callback(index, frame)`: evaluate the cell at frame.pc.

    `words` is the number of packet words, `cells` and `counters` (of all CPUs) the
    numbers of entries that the maps hold.
    """
    b.label("cell")
    _fetch(b, cells)
    b.load(R5, R1, 0, Size.B)
    b.jgt(R5, Op.GUARD, "act")
    # R0 = word[slot] & mask
    b.load(R3, R1, 1, Size.B)
    b.jgt(R3, words - 1, "end")
    b.lsh(R3, 2)
    b.add(R3, R2)
    b.load(R0, R3, frame.WORDS, Size.W)
    b.load(R3, R1, 4, Size.W)
    b.and_(R0, R3)
    b.load(R3, R1, 8, Size.W)
    b.jeq(R5, Op.GUARD, "guard")
    # R5 ^= out of bounds; 0 then means jump: TEST_JUMP_IF in bounds, or UNLESS out of bounds
    b.load(R4, R1, 12, Size.W)
    b.jlt(R0, R3, "outside")
    b.jgt(R0, R4, "outside")
    b.jeq(R5, Op.TEST_JUMP_IF, "branch")
    b.jump("next")
    b.label("outside")
    b.jeq(R5, Op.TEST_JUMP_UNLESS, "branch")
    b.label("next")
    b.load(R3, R2, frame.PC, Size.W)
    b.add(R3, 1)
    b.jump("goto")
    b.label("guard")
    b.jeq(R0, 0, "next")
    b.jne(R0, R3, "end")
    b.label("branch")
    b.load(R0, R1, 2, Size.H)
    b.load(R3, R2, frame.PC, Size.W)
    b.add(R3, R0)
    b.label("goto")
    b.store(R2, frame.PC, R3, Size.W)
    b.mov(R0, CONTINUE_LOOP)
    b.exit()
    _act(b, counters)


def _fetch(b: Builder, cells: int) -> None:
    # R1 = &cells[pc]
    b.load(R3, R2, frame.PC, Size.W)
    b.jgt(R3, cells - 1, "end")
    b.lsh(R3, CELL_BYTES.bit_length() - 1)
    b.load_map_value(R1, CELLS_MAP)
    b.add(R1, R3)


def _act(b: Builder, counters: int) -> None:
    b.label("act")
    _count(b, counters)
    b.jeq(R5, Op.CONTINUE, "next")
    b.jeq(R5, Op.DROP, "end")
    b.jeq(R5, Op.ACCEPT, "accept")
    b.load(R3, R1, 12, Size.W)
    b.jeq(R5, Op.GOTO, "goto")
    b.jeq(R5, Op.JUMP, "push")
    b.jne(R5, Op.RETURN, "end")
    # RETURN: pop, or the policy when nothing is held
    b.load(R4, R2, frame.DEPTH, Size.W)
    b.load(R3, R2, frame.UNDERFLOW, Size.W)
    b.jeq(R4, 0, "goto")
    b.sub(R4, 1)
    b.jgt(R4, STACK_DEPTH - 1, "end")
    b.store(R2, frame.DEPTH, R4, Size.W)
    b.lsh(R4, 2)
    b.add(R4, R2)
    b.load(R3, R4, frame.RETURNS, Size.W)
    b.jump("goto")
    b.label("push")
    b.load(R4, R2, frame.DEPTH, Size.W)
    b.jgt(R4, STACK_DEPTH - 1, "end")
    b.mov(R0, R4)
    b.add(R0, 1)
    b.store(R2, frame.DEPTH, R0, Size.W)
    b.load(R0, R2, frame.PC, Size.W)
    b.add(R0, 1)
    b.lsh(R4, 2)
    b.add(R4, R2)
    b.store(R4, frame.RETURNS, R0, Size.W)
    b.jump("goto")
    b.label("accept")
    b.mov(R0, NF_ACCEPT)
    b.store(R2, frame.VERDICT, R0, Size.W)
    b.label("end")
    b.mov(R0, END_LOOP)
    b.exit()


def _count(b: Builder, counters: int) -> None:
    # Atomic: a softirq can interrupt a process's packet on the same CPU.
    b.load(R3, R1, 8, Size.W)
    b.load(R4, R2, frame.COUNTERS, Size.W)
    b.add(R3, R4)
    b.jgt(R3, counters - 1, "end")
    b.lsh(R3, COUNTER_BYTES.bit_length() - 1)
    b.load_map_value(R4, COUNTERS_MAP)
    b.add(R4, R3)
    b.mov(R0, 1)
    b.atomic_add(R4, 0, R0)
    b.load(R0, R2, frame.BYTES)
    b.atomic_add(R4, 8, R0)
