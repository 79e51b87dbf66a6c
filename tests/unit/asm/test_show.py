from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given

from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.encode import decode, encode
from bpfilter.asm.insn import R0, R1, R2, R3, R10, Insn, Size
from bpfilter.asm.resolve import resolve
from bpfilter.asm.show import show, show_insn
from tests.unit.asm import strategies


def program() -> tuple[Insn, ...]:
    b = Builder("p")
    with b.origin("rule 1"):
        b.load_map_value(R1, "hits", 8)
        b.mov(R2, 1)
        b.atomic_add(R1, 0, R2)
    with b.origin("rule 2"):
        b.jeq(R2, 3, "out")
        b.may_goto("out")
        b.load_func(R2, "step")
    b.label("out")
    b.mov32(R0, 0)
    b.exit()
    b.label("step")
    b.call_sub("out")
    b.exit()
    return b.build()


LISTING = """\
; rule 1
   0: r1 = &hits[8]
   2: r2 = 1
   3: lock *(u64 *)(r1 + 0) += r2
; rule 2
   4: if r2 == 3 goto out
   5: may_goto out
   6: r2 = sub step
out:
   8: w0 = 0
   9: exit
step:
  10: call sub out
  11: exit
"""


def test_listing_with_labels_and_origins() -> None:
    assert show(program()) == LISTING


def test_resolved_programs_look_the_same() -> None:
    assert show(resolve(program())) == LISTING


def test_decoded_programs_show_slots_instead_of_names() -> None:
    text = show(decode(encode(resolve(program()), lambda _ref: 5)))
    assert "   0: r1 = &5[8]\n" in text
    assert "   4: if r2 == 3 goto 8\n" in text
    assert "   6: r2 = sub 10\n" in text
    assert "  10: call sub 8\n" in text


STEPS: list[tuple[Callable[[Builder], None], str]] = [
    (lambda b: b.arsh(R1, R2), "r1 s>>= r2"),
    (lambda b: b.mov32(R1, R2), "w1 = w2"),
    (lambda b: b.neg32(R1), "w1 = -w1"),
    (lambda b: b.sdiv(R1, -3), "r1 s/= -3"),
    (lambda b: b.movsx8(R1, R2), "r1 = (s8)r2"),
    (lambda b: b.be16(R1), "r1 = be16 r1"),
    (lambda b: b.le64(R1), "r1 = le64 r1"),
    (lambda b: b.bswap32(R1), "r1 = bswap32 r1"),
    (lambda b: b.load(R1, R10, -4, Size.W), "r1 = *(u32 *)(r10 - 4)"),
    (lambda b: b.loadsx(R1, R2, 2, Size.H), "r1 = *(s16 *)(r2 + 2)"),
    (lambda b: b.store(R10, -1, 7, Size.B), "*(u8 *)(r10 - 1) = 7"),
    (lambda b: b.store(R10, -8, R3), "*(u64 *)(r10 - 8) = r3"),
    (lambda b: b.fetch_or(R1, 0, R2, Size.W), "r2 = lock *(u32 *)(r1 + 0) |= r2"),
    (lambda b: b.xchg(R1, 0, R2), "r2 = xchg(*(u64 *)(r1 + 0), r2)"),
    (lambda b: b.cmpxchg(R1, 0, R2), "r0 = cmpxchg(*(u64 *)(r1 + 0), r0, r2)"),
    (lambda b: b.jset32(R1, 6, "x"), "if w1 & 6 goto x"),
    (lambda b: b.jslt(R1, R2, "x"), "if r1 s< r2 goto x"),
    (lambda b: b.jump("x"), "goto x"),
    (lambda b: b.imm64(R1, 1 << 40), "r1 = 0x10000000000"),
    (lambda b: b.load_map(R1, "m"), "r1 = map m"),
    (lambda b: b.type_id(R2, "sk_buff"), "r2 = type sk_buff"),
    (lambda b: b.kfunc("bpf_f"), "call kfunc bpf_f"),
    (lambda b: b.call(Helper.LOOP), "call loop"),
    (lambda b: b.call(9999), "call helper 9999"),
]


@pytest.mark.parametrize(("step", "text"), STEPS, ids=[text for _, text in STEPS])
def test_one_instruction(step: Callable[[Builder], None], text: str) -> None:
    b = Builder()
    step(b)
    (insn,) = b.build()
    assert show_insn(insn) == text


@given(strategies.insns)
def test_anything_can_be_shown(insns: tuple[Insn, ...]) -> None:
    assert len(show(insns).splitlines()) == len(insns)
