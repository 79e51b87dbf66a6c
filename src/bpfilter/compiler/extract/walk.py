"""Parts that extractors share: loops over the packet, and bitmaps of what they saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bpfilter.asm.insn import R0, R1, R2, R3, R6, R8, R10, Reg, Size
from bpfilter.compiler import frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan.fields import Field

_UNWANTED = 0xF


@contextmanager
def loop(p: Prologue, exits: dict[str, str]) -> Iterator[str]:
    """Repeat the instructions made inside.

    Gives the label that starts the next step, for `continue`; the end of the block goes
    there too. A jump to a key of `exits` leaves the loop for the label that is its value; the
    first key is also where the loop goes after too many steps. R0-R5 do not survive a step.
    """
    b = p.b
    step = b.fresh("step")
    p.steps.begin()
    b.label(step)
    p.steps.step(next(iter(exits)))
    yield step
    b.jump(step)
    for leave, then in exits.items():
        b.label(leave)
        p.steps.end()
        b.jump(then)


def mark(p: Prologue, seen: Field, kind: Reg) -> None:
    """Set bit `kind` (0-255) of a bitmap of eight words; clobbers `kind`, R0, R2 and R3.

    One store at a computed place, not a choice of eight: else the verifier would follow
    every combination of words set so far.
    """
    b = p.b
    slots = [
        p.frame.places[seen.name, word].slot if p.wants_word(seen, word) else None
        for word in range(seen.words)
    ]
    known = [slot for slot in slots if slot is not None]
    if not known:
        return
    # For each word 4 bits: its slot after the first one's, or _UNWANTED.
    first = min(known)
    table = sum(
        (_UNWANTED if slot is None else slot - first) << 4 * word
        for word, slot in enumerate(slots)
    )
    skip = b.fresh("unwanted")
    b.mov(R3, kind)
    b.rsh(R3, 5)
    b.lsh(R3, 2)
    b.imm64(R2, table)
    b.rsh(R2, R3)
    b.and_(R2, 0xF)
    b.jgt(R2, max(known) - first, skip)
    b.lsh(R2, 2)
    b.add(R2, R10)
    b.mov(R3, 31)
    b.xor(R3, kind)
    b.mov32(kind, 1)
    b.lsh32(kind, R3)
    offset = p.frame.word_offset(first)
    b.load(R0, R2, offset, Size.W)
    b.or_(R0, kind)
    b.store(R2, offset, R0, Size.W)
    b.label(skip)


def jump_unless_first(p: Prologue, protocol: int, label: str) -> None:
    """Go on only with a packet of this protocol that is whole or a first fragment."""
    p.b.jne(R8, protocol, label)
    p.load_scratch(R1, frame.SCRATCH_FRAGOFF)
    p.b.jne(R1, 0, label)


def jump_if_beyond(p: Prologue, end: Reg, label: str) -> None:
    """Go away if the packet has fewer than `end` bytes; clobbers R1."""
    p.load_member(R1, R6, "sk_buff", "len")
    p.b.jgt(end, R1, label)
