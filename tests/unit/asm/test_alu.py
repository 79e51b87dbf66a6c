"""Arithmetic and conditions: cases worked out by hand, and properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter.asm.alu import signed
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, U32, U64, Reg
from bpfilter.asm.interp import Machine

MIN64, MIN32 = 1 << 63, 1 << 31

u64 = st.integers(0, U64) | st.sampled_from([0, 1, MIN32, U32, U32 + 1, MIN64, U64])


def compute(operation: str, a: int, b: int | None = None, *, immediate: bool = False) -> int:
    """R1 = a, R2 = b, `operation` on both; what R1 is then."""
    builder = Builder()
    builder.imm64(R1, a)
    arguments: list[Reg | int] = []
    if b is not None:
        builder.imm64(R2, b & U64)
        arguments.append(b if immediate else R2)
    method: Any = getattr(builder, operation)
    method(R1, *arguments)
    builder.mov(R0, R1)
    builder.exit()
    return Machine(builder.build()).run(0)


BINARY = [
    ("add", U64, 1, 0),
    ("add32", U64, 1, 0),
    ("add32", 5 << 32, 1, 1),  # the upper half is lost
    ("sub", 0, 1, U64),
    ("sub32", 0, 1, U32),
    ("mul", MIN64, 2, 0),
    ("mul", U32, U32, 0xFFFF_FFFE_0000_0001),
    ("mul32", U32, U32, 1),
    ("div", 7, 2, 3),
    ("div", U64, 2, MIN64 - 1),  # unsigned
    ("div", 7, 0, 0),
    ("div32", 7 << 32 | 9, 2, 4),
    ("div32", 7, 5 << 32, 0),  # the divisor's lower half is 0
    ("mod", 7, 4, 3),
    ("mod", U64, 0, U64),
    ("mod32", 1 << 32 | 7, 0, 7),
    ("or_", 5, 10, 15),
    ("or32", 1 << 40, 1, 1),
    ("and_", U64, 5 << 40, 5 << 40),
    ("and32", U64, 5 << 40 | 3, 3),
    ("xor", U64, 1, U64 - 1),
    ("xor32", U64, 1, U32 - 1),
    ("lsh", 1, 63, MIN64),
    ("lsh", 1, 64, 1),  # shifts count modulo the width
    ("lsh32", 1, 33, 2),
    ("lsh32", 3, 31, MIN32),
    ("rsh", U64, 63, 1),
    ("rsh", U64, 65, MIN64 - 1),
    ("rsh32", U64, 31, 1),
    ("rsh32", U64, 33, MIN32 - 1),
    ("arsh", MIN64, 63, U64),
    ("arsh", MIN64, 66, 7 << 61),
    ("arsh", MIN64 - 1, 62, 1),
    ("arsh32", MIN32, 31, U32),  # and the upper half is zero
    ("arsh32", MIN32 - 1, 30, 1),
    ("mov", 1, U64, U64),
    ("mov32", 1, U64, U32),
    ("sdiv", U64 - 6, 2, U64 - 2),  # -7 / 2 = -3
    ("sdiv", 7, U64 - 1, U64 - 2),  # 7 / -2 = -3
    ("sdiv", MIN64, U64, MIN64),
    ("sdiv", 5, 0, 0),
    ("sdiv32", U32 - 6, 2, U32 - 2),
    ("sdiv32", MIN32, U32, MIN32),
    ("smod", U64 - 6, 2, U64),  # -7 % 2 = -1
    ("smod", 7, U64 - 1, 1),
    ("smod", MIN64, U64, 0),
    ("smod", U64, 0, U64),
    ("smod32", U64, 0, U32),
    ("movsx8", 0, 0x80, U64 - 0x7F),
    ("movsx16", 0, 0x7FFF, 0x7FFF),
    ("movsx32", 0, MIN32, U64 - MIN32 + 1),
    ("movsx8_32", 0, 0x80, U32 - 0x7F),
    ("movsx16_32", 0, 0x18000, U32 - 0x7FFF),
]


@pytest.mark.parametrize(("operation", "a", "b", "expected"), BINARY)
def test_two_operands(operation: str, a: int, b: int, expected: int) -> None:
    assert compute(operation, a, b) == expected


@pytest.mark.parametrize(
    ("operation", "a", "b", "expected"),
    [
        ("mov", 0, -1, U64),  # immediates are sign-extended,
        ("mov32", 0, -1, U32),  # but only to the operation's width
        ("add", 10, -3, 7),
        ("and_", U64, -256, U64 - 255),
        ("or_", 0, MIN32 - 1, MIN32 - 1),
        ("xor32", 0, U32, U32),
        ("div", U64, -1, 1),
        ("sdiv", 10, -2, U64 - 4),
        ("arsh", MIN64, 4, 0xF8 << 56),
    ],
)
def test_immediates(operation: str, a: int, b: int, expected: int) -> None:
    assert compute(operation, a, b, immediate=True) == expected


@pytest.mark.parametrize(
    ("operation", "a", "expected"),
    [
        ("neg", 1, U64),
        ("neg", MIN64, MIN64),
        ("neg32", 1, U32),
        ("neg32", 1 << 32, 0),
        ("be16", 0xAABB_1122, 0x2211),
        ("be32", 0xAABB_CCDD_1122_3344, 0x4433_2211),
        ("be64", 0x1122_3344_5566_7788, 0x8877_6655_4433_2211),
        ("le16", 0xAABB_1122, 0x1122),
        ("le32", 0xAABB_CCDD_1122_3344, 0x1122_3344),
        ("le64", U64, U64),
        ("bswap16", 0xAABB_1122, 0x2211),
        ("bswap32", 0xAABB_CCDD_1122_3344, 0x4433_2211),
        ("bswap64", 0x1122_3344_5566_7788, 0x8877_6655_4433_2211),
    ],
)
def test_one_operand(operation: str, a: int, expected: int) -> None:
    assert compute(operation, a) == expected


@settings(max_examples=30)
@given(u64, u64)
def test_division_and_remainder_fit_together(a: int, b: int) -> None:
    for suffix, mask in (("", U64), ("32", U32)):
        for prefix in ("", "s"):
            quotient = compute(f"{prefix}div{suffix}", a, b)
            remainder = compute(f"{prefix}mod{suffix}", a, b)
            assert (quotient * b + remainder - a) & mask == 0


JUMPS: dict[str, Callable[[int, int, int], bool]] = {
    "jeq": lambda a, b, bits: a == b,
    "jne": lambda a, b, bits: a != b,
    "jgt": lambda a, b, bits: a > b,
    "jge": lambda a, b, bits: a >= b,
    "jlt": lambda a, b, bits: a < b,
    "jle": lambda a, b, bits: a <= b,
    "jset": lambda a, b, bits: a & b != 0,
    "jsgt": lambda a, b, bits: signed(a, bits) > signed(b, bits),
    "jsge": lambda a, b, bits: signed(a, bits) >= signed(b, bits),
    "jslt": lambda a, b, bits: signed(a, bits) < signed(b, bits),
    "jsle": lambda a, b, bits: signed(a, bits) <= signed(b, bits),
}


def jumps(operation: str, a: int, b: int, operand: Reg | int) -> bool:
    builder = Builder()
    builder.imm64(R1, a)
    builder.imm64(R2, b & U64)
    builder.mov(R0, 1)
    method: Any = getattr(builder, operation)
    method(R1, operand, "taken")
    builder.mov(R0, 0)
    builder.label("taken")
    builder.exit()
    return bool(Machine(builder.build()).run(0))


@pytest.mark.parametrize("operation", JUMPS)
@settings(max_examples=30)
@given(u64, u64)
def test_conditions(operation: str, a: int, b: int) -> None:
    meaning = JUMPS[operation]
    assert jumps(operation, a, b, R2) == meaning(a, b, 64)
    assert jumps(f"{operation}32", a, b, R2) == meaning(a & U32, b & U32, 32)


@pytest.mark.parametrize("operation", JUMPS)
@settings(max_examples=30)
@given(u64, st.integers(-(1 << 31), (1 << 31) - 1))
def test_conditions_on_immediates(operation: str, a: int, imm: int) -> None:
    meaning = JUMPS[operation]
    assert jumps(operation, a, 0, imm) == meaning(a, imm & U64, 64)
    assert jumps(f"{operation}32", a, 0, imm) == meaning(a & U32, imm & U32, 32)


@settings(max_examples=30)
@given(u64)
def test_a_number_is_less_than_itself_never(a: int) -> None:
    for operation in ("jne", "jgt", "jlt", "jsgt", "jslt"):
        assert not jumps(operation, a, a, R2)
