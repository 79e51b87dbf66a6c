"""What arithmetic and conditions mean, as Python expressions.

A register holds an int in 0 .. 2**64-1. In the expressions, `{a}` is dst and `{b}` the
second operand, both already unsigned numbers of the operation's width; `{bits}` is that
width, `{mask}` its largest number, and `{sign}` its sign bit.
Source: Documentation/bpf/standardization/instruction-set.rst, and ___bpf_prog_run in
kernel/bpf/core.c; tests/kernel/test_interp_agrees.py compares with the kernel itself.
"""

from __future__ import annotations

from typing import Final

from bpfilter.abi import insn as abi
from bpfilter.asm.insn import U32, Insn
from bpfilter.errors import InterpError

_ALU: Final = {
    abi.BPF_MOV: "{b}",
    abi.BPF_ADD: "{a} + {b} & {mask}",
    abi.BPF_SUB: "{a} - {b} & {mask}",
    abi.BPF_MUL: "{a} * {b} & {mask}",
    abi.BPF_DIV: "({a} // {b} if {b} else 0)",
    abi.BPF_MOD: "({a} % {b} if {b} else {a})",
    abi.BPF_OR: "{a} | {b}",
    abi.BPF_AND: "{a} & {b}",
    abi.BPF_XOR: "{a} ^ {b}",
    abi.BPF_LSH: "{a} << ({b} & {bits} - 1) & {mask}",
    abi.BPF_RSH: "{a} >> ({b} & {bits} - 1)",
    abi.BPF_ARSH: "(({a} ^ {sign}) - {sign}) >> ({b} & {bits} - 1) & {mask}",
    abi.BPF_NEG: "-{a} & {mask}",
}

_SIGNED_ALU: Final = {
    abi.BPF_DIV: "signed_div({a}, {b}, {bits})",
    abi.BPF_MOD: "signed_mod({a}, {b}, {bits})",
}

_CONDITION: Final = {
    abi.BPF_JEQ: "{a} == {b}",
    abi.BPF_JNE: "{a} != {b}",
    abi.BPF_JGT: "{a} > {b}",
    abi.BPF_JGE: "{a} >= {b}",
    abi.BPF_JLT: "{a} < {b}",
    abi.BPF_JLE: "{a} <= {b}",
    abi.BPF_JSET: "{a} & {b}",
    # With the sign bit flipped, unsigned order is signed order.
    abi.BPF_JSGT: "({a} ^ {sign}) > ({b} ^ {sign})",
    abi.BPF_JSGE: "({a} ^ {sign}) >= ({b} ^ {sign})",
    abi.BPF_JSLT: "({a} ^ {sign}) < ({b} ^ {sign})",
    abi.BPF_JSLE: "({a} ^ {sign}) <= ({b} ^ {sign})",
}


def result(insn: Insn) -> str:
    """Give the expression of what an arithmetic instruction leaves in dst."""
    if insn.op == abi.BPF_END:
        return _byte_order(insn)
    bits = 64 if insn.insn_class == abi.BPF_ALU64 else 32
    if insn.op == abi.BPF_MOV and insn.off:
        return f"sign_extend(r[{insn.src}], {insn.off}, {bits})"
    table = _SIGNED_ALU if insn.off else _ALU
    return _fill(table, insn, bits)


def condition(insn: Insn) -> str:
    """Give the expression of whether a conditional jump is taken."""
    return _fill(_CONDITION, insn, 64 if insn.insn_class == abi.BPF_JMP else 32)


def _fill(table: dict[int, str], insn: Insn, bits: int) -> str:
    mask = (1 << bits) - 1
    if insn.op not in table:
        raise InterpError(f"opcode {insn.opcode:#04x} with off {insn.off} is not known")
    return table[insn.op].format(
        a=_register(insn.dst, bits),
        b=_register(insn.src, bits) if insn.uses_src else insn.imm & mask,
        bits=bits,
        mask=mask,
        sign=1 << bits - 1,
    )


def _register(number: int, bits: int) -> str:
    return f"r[{number}]" if bits == 64 else f"(r[{number}] & {U32})"


def _byte_order(insn: Insn) -> str:
    if insn.imm not in (16, 32, 64):
        raise InterpError(f"byte swap of {insn.imm} bits")
    swaps = insn.uses_src or insn.insn_class == abi.BPF_ALU64
    low = f"r[{insn.dst}] & {(1 << insn.imm) - 1}"
    return f"swap({low}, {insn.imm // 8})" if swaps else low


def swap(value: int, nbytes: int) -> int:
    """Reverse the byte order of an unsigned number."""
    return int.from_bytes(value.to_bytes(nbytes, "little"), "big")


def signed(value: int, bits: int) -> int:
    """Read the low bits of a number as two's complement."""
    sign = 1 << bits - 1
    return (value & (sign << 1) - 1 ^ sign) - sign


def sign_extend(value: int, source_bits: int, bits: int) -> int:
    """Widen a two's complement number to 64 or 32 bits."""
    return signed(value, source_bits) & (1 << bits) - 1


def signed_div(a: int, b: int, bits: int) -> int:
    """Divide towards zero; by zero gives 0, the smallest number by -1 gives itself."""
    x, y = signed(a, bits), signed(b, bits)
    if y == 0:
        return 0
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient) & (1 << bits) - 1


def signed_mod(a: int, b: int, bits: int) -> int:
    """Remainder with the sign of the dividend; by zero leaves the dividend."""
    x, y = signed(a, bits), signed(b, bits)
    if y == 0:
        return a
    remainder = abs(x) % abs(y)
    return (-remainder if x < 0 else remainder) & (1 << bits) - 1
