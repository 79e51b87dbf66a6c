"""Each builder method against the bytes the kernel expects, written out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.encode import encode
from bpfilter.asm.insn import R0, R1, R2, R6, R10, Insn, Ref, RefKind, Size
from bpfilter.errors import BuildError

Step = Callable[[Builder], None]

# opcode, registers (src << 4 | dst), off, imm; as `llvm-objdump -d` prints the bytes.
BYTES: list[tuple[str, Step, str]] = [
    ("mov reg", lambda b: b.mov(R6, R1), "bf16 0000 00000000"),
    ("mov imm", lambda b: b.mov(R0, 1), "b700 0000 01000000"),
    ("mov -1", lambda b: b.mov(R0, -1), "b700 0000 ffffffff"),
    ("mov32 reg", lambda b: b.mov32(R1, R2), "bc21 0000 00000000"),
    ("mov32 u32", lambda b: b.mov32(R1, 0xFFFFFFFF), "b401 0000 ffffffff"),
    ("add", lambda b: b.add(R1, 8), "0701 0000 08000000"),
    ("add reg", lambda b: b.add(R1, R2), "0f21 0000 00000000"),
    ("add32", lambda b: b.add32(R1, 8), "0401 0000 08000000"),
    ("sub", lambda b: b.sub(R1, 1), "1701 0000 01000000"),
    ("mul", lambda b: b.mul(R1, 3), "2701 0000 03000000"),
    ("div", lambda b: b.div(R1, R2), "3f21 0000 00000000"),
    ("sdiv", lambda b: b.sdiv(R1, R2), "3f21 0100 00000000"),
    ("or", lambda b: b.or_(R1, 1), "4701 0000 01000000"),
    ("and", lambda b: b.and_(R1, 15), "5701 0000 0f000000"),
    ("lsh", lambda b: b.lsh(R1, 2), "6701 0000 02000000"),
    ("rsh32", lambda b: b.rsh32(R1, 2), "7401 0000 02000000"),
    ("neg", lambda b: b.neg(R1), "8701 0000 00000000"),
    ("neg32", lambda b: b.neg32(R1), "8401 0000 00000000"),
    ("mod", lambda b: b.mod(R1, 10), "9701 0000 0a000000"),
    ("smod32", lambda b: b.smod32(R1, R2), "9c21 0100 00000000"),
    ("xor", lambda b: b.xor(R1, R2), "af21 0000 00000000"),
    ("arsh", lambda b: b.arsh(R1, 63), "c701 0000 3f000000"),
    ("movsx16", lambda b: b.movsx16(R1, R2), "bf21 1000 00000000"),
    ("be16", lambda b: b.be16(R2), "dc02 0000 10000000"),
    ("be64", lambda b: b.be64(R2), "dc02 0000 40000000"),
    ("le32", lambda b: b.le32(R2), "d402 0000 20000000"),
    ("bswap64", lambda b: b.bswap64(R2), "d702 0000 40000000"),
    ("load byte", lambda b: b.load(R0, R1, 23, Size.B), "7110 1700 00000000"),
    ("load half", lambda b: b.load(R0, R1, 12, Size.H), "6910 0c00 00000000"),
    ("load word", lambda b: b.load(R0, R1, 0, Size.W), "6110 0000 00000000"),
    ("load", lambda b: b.load(R0, R10, -8), "79a0 f8ff 00000000"),
    ("loadsx", lambda b: b.loadsx(R0, R1, 0, Size.W), "8110 0000 00000000"),
    ("store reg", lambda b: b.store(R10, -8, R1), "7b1a f8ff 00000000"),
    ("store imm", lambda b: b.store(R10, -4, 7, Size.W), "620a fcff 07000000"),
    ("store byte", lambda b: b.store(R10, -1, 0xFF, Size.B), "720a ffff ff000000"),
    ("atomic add", lambda b: b.atomic_add(R1, 8, R2), "db21 0800 00000000"),
    ("atomic add w", lambda b: b.atomic_add(R1, 0, R2, Size.W), "c321 0000 00000000"),
    ("fetch add", lambda b: b.fetch_add(R1, 0, R2), "db21 0000 01000000"),
    ("fetch or", lambda b: b.fetch_or(R1, 0, R2), "db21 0000 41000000"),
    ("atomic and", lambda b: b.atomic_and(R1, 0, R2), "db21 0000 50000000"),
    ("atomic xor", lambda b: b.atomic_xor(R1, 0, R2), "db21 0000 a0000000"),
    ("xchg", lambda b: b.xchg(R1, 0, R2), "db21 0000 e1000000"),
    ("cmpxchg", lambda b: b.cmpxchg(R1, 0, R2), "db21 0000 f1000000"),
    ("imm64", lambda b: b.imm64(R1, 0x1122334455667788), "1801 0000 88776655 0000000044332211"),
    ("imm64 -1", lambda b: b.imm64(R1, -1), "1801 0000 ffffffff 00000000ffffffff"),
    ("map", lambda b: b.load_map(R1, "m"), "1811 0000 07000000 0000000000000000"),
    ("map value", lambda b: b.load_map_value(R1, "m", 5), "1821 0000 07000000 0000000005000000"),
    ("call", lambda b: b.call(Helper.MAP_LOOKUP_ELEM), "8500 0000 01000000"),
    ("kfunc", lambda b: b.kfunc("f"), "8520 0000 07000000"),
    ("type id", lambda b: b.type_id(R2, "sk_buff"), "b702 0000 07000000"),
    ("exit", lambda b: b.exit(), "9500 0000 00000000"),
    ("may_goto", lambda b: b.emit(Insn(abi.MAY_GOTO, off=2)), "e500 0200 00000000"),
]


@pytest.mark.parametrize(
    ("step", "expected"), [row[1:] for row in BYTES], ids=[r[0] for r in BYTES]
)
def test_bytes(step: Step, expected: str) -> None:
    b = Builder()
    step(b)
    assert encode(b.build(), lambda _ref: 7, "little").hex() == expected.replace(" ", "")


def test_every_alu_and_jump_method_has_its_own_opcode() -> None:
    def opcode(name: str, *args: object) -> tuple[int, int, int]:
        b = Builder()
        getattr(b, name)(*args)
        (insn,) = b.build()
        return insn.opcode, insn.off, insn.imm

    alu = ["mov", "add", "sub", "mul", "div", "mod", "and_", "or_", "xor", "lsh", "rsh", "arsh"]
    names = [*alu, *(f"{name.rstrip('_')}32" for name in alu), "sdiv", "smod", "sdiv32", "smod32"]
    jumps = ["jeq", "jne", "jgt", "jge", "jlt", "jle", "jset", "jsgt", "jsge", "jslt", "jsle"]
    jumps += [f"{name}32" for name in jumps]
    seen = [opcode(name, R1, R2) for name in names] + [opcode(name, R1, R2, "x") for name in jumps]
    assert len(set(seen)) == len(seen) == 28 + 22


REFUSED: list[tuple[str, Step, str]] = [
    ("frame pointer", lambda b: b.mov(R10, 1), "frame pointer"),
    ("load to r10", lambda b: b.load(R10, R1, 0), "frame pointer"),
    ("fetch into r10", lambda b: b.fetch_add(R1, 0, R10), "frame pointer"),
    ("not a register", lambda b: b.mov(11, 1), "not a register"),  # type: ignore[arg-type]
    ("wide immediate", lambda b: b.and_(R1, 0xFFFFFFFF), "32-bit immediate"),
    ("wide jump", lambda b: b.jeq(R1, 1 << 31, "x"), "32-bit immediate"),
    ("33 bits", lambda b: b.mov32(R1, 1 << 32), "32-bit immediate"),
    ("65 bits", lambda b: b.imm64(R1, 1 << 64), "64 bits"),
    ("offset", lambda b: b.load(R1, R2, 1 << 15), "16 bits"),
    ("byte store", lambda b: b.store(R10, -1, 256, Size.B), "1 bytes"),
    ("wide store", lambda b: b.store(R10, -8, 1 << 31), "8 bytes"),
    ("half atomic", lambda b: b.atomic_add(R1, 0, R2, Size.H), "4 or 8 bytes"),
    ("dw loadsx", lambda b: b.loadsx(R1, R2, 0, Size.DW), "at most 4"),
    ("map offset", lambda b: b.load_map_value(R1, "m", -1), "map m"),
]


@pytest.mark.parametrize(
    ("step", "words"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_wrong_operands_are_refused_where_they_are(step: Step, words: str) -> None:
    b = Builder("part")
    with b.origin("rule 7"), pytest.raises(BuildError, match=words) as caught:
        step(b)
    assert caught.value.origin == "rule 7"
    assert str(caught.value).startswith("part: ")
    assert b.build() == ()


def test_an_enum_is_a_number() -> None:
    b = Builder()
    b.mov(R1, Size.DW)
    assert b.build()[0].imm == 0x18


def test_labels() -> None:
    b = Builder("p")
    b.label("first")
    b.label("same")
    b.mov(R0, 0)
    b.jump("same")
    first, jump = b.build()
    assert first.label == "first"
    assert jump.ref == Ref(RefKind.LABEL, "first")  # two names for one place become one
    assert b.fresh("x") != b.fresh("x")
    with pytest.raises(BuildError, match="twice"):
        b.label("same")
    b.label("end")
    with pytest.raises(BuildError, match="label end has no instruction"):
        b.build()


def test_origins_nest_and_end() -> None:
    b = Builder()
    with b.origin("outer"):
        b.mov(R0, 0)
        with b.origin("inner"):
            b.mov(R0, 1)
        b.mov(R0, 2)
    b.exit()
    assert [insn.origin for insn in b.build()] == ["outer", "inner", "outer", None]


def test_emit_keeps_the_label_and_origin_an_instruction_has() -> None:
    a = Builder()
    a.label("here")
    with a.origin("there"):
        a.exit()
    b = Builder()
    b.label("also")
    b.jump("here")
    b.emit(a.build()[0])
    assert b.build()[1] == a.build()[0]
    assert b.build()[1].origin == "there"
    with pytest.raises(BuildError, match="twice"):
        b.label("here")
