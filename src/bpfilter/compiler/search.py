"""Searching a list of numbers in kernel memory: a step each time the evaluation loop comes by.

A list field has five words: where the sorted u32 numbers are (two halves of an address), how
many they are, and the part not searched yet, `FROM` up to before `TO`. A SEARCH cell halves
that part and is evaluated again, until a number between `lo` and `hi` is found or none is
left; then all of the list is ready to be searched for the next one. Thus the program is the
same for lists and rules of any number.
"""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R7, R10, Reg, Size
from bpfilter.compiler.cells import Op
from bpfilter.compiler.frame import Frame
from bpfilter.plan.fields import OWNER_GROUPS

ADDRESS, ADDRESS_HIGH, COUNT, FROM, TO = range(5)


def is_wanted(layout: Frame) -> bool:
    return (OWNER_GROUPS.name, 0) in layout.places


def emit_search(b: Builder, layout: Frame, words: int) -> None:
    """Emit `search_list` for the cell at R7, which goes on to `branch`, `next` or `step`."""
    b.label("search_list")
    _find_middle(b, layout, words, "absent")
    _load(b, layout, R3, ADDRESS_HIGH)
    _load(b, layout, R4, ADDRESS)
    b.lsh(R3, 32)
    b.or_(R3, R4)
    b.lsh(R2, 2)
    b.add(R3, R2)
    # bpf_rdonly_cast: any struct that begins with an integer serves to read through.
    b.mov(R1, R3)
    b.type_id(R2, "timespec64")
    b.kfunc("bpf_rdonly_cast")
    b.load(R0, R0, 0, Size.W)
    _find_middle(b, layout, words, "absent")
    b.load(R3, R7, 8, Size.W)
    b.load(R4, R7, 12, Size.W)
    b.jlt(R0, R3, "too_small")
    b.jgt(R0, R4, "too_large")
    _start_again(b, layout)
    b.load(R5, R7, 0, Size.B)
    b.jeq(R5, Op.SEARCH_JUMP_IF, "branch")
    b.jump("next")
    b.label("too_small")
    b.add(R2, 1)
    _store(b, layout, FROM, R2)
    b.jump("step")
    b.label("too_large")
    _store(b, layout, TO, R2)
    b.jump("step")
    b.label("absent")
    _start_again(b, layout)
    b.load(R5, R7, 0, Size.B)
    b.jeq(R5, Op.SEARCH_JUMP_UNLESS, "branch")
    b.jump("next")


def _find_middle(b: Builder, layout: Frame, words: int, none: str) -> None:
    # R1 = the list's words less the place of all words, R2 = a number in the part to search
    b.load(R1, R7, 1, Size.B)
    b.jgt(R1, words - OWNER_GROUPS.words, "drop_now")
    b.lsh(R1, 2)
    b.add(R1, R10)
    _load(b, layout, R2, FROM)
    _load(b, layout, R3, TO)
    b.jge(R2, R3, none)
    b.add(R2, R3)
    b.rsh(R2, 1)


def _start_again(b: Builder, layout: Frame) -> None:
    b.mov(R2, 0)
    _store(b, layout, FROM, R2)
    _load(b, layout, R2, COUNT)
    _store(b, layout, TO, R2)


def _load(b: Builder, layout: Frame, dst: Reg, word: int) -> None:
    b.load(dst, R1, layout.word_offset(word), Size.W)


def _store(b: Builder, layout: Frame, word: int, src: Reg) -> None:
    b.store(R1, layout.word_offset(word), src, Size.W)
