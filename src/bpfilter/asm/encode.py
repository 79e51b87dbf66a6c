"""Instructions to bytes and back; the layout is drawn in abi/insn.py."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from bpfilter.abi import insn as abi
from bpfilter.asm.insn import Insn, Ref, RefKind
from bpfilter.errors import AbiError, BuildError

Lookup = Mapping[Ref, int] | Callable[[Ref], int]
ByteOrder = Literal["little", "big"]

_SLOT: Final = {
    "little": struct.Struct("<BBhi"),
    "big": struct.Struct(">BBhi"),
}


def encode(
    insns: Iterable[Insn], lookup: Lookup | None = None, byteorder: ByteOrder = sys.byteorder
) -> bytes:
    """Encode resolved instructions as an array of `struct bpf_insn`.

    `lookup` gives the number of a name: a function of the Ref, or a mapping whose keys
    have offset 0 (`Ref(MAP_VALUE, name)` serves every offset). The number is a file
    descriptor for MAP and MAP_VALUE, a BTF id for TYPE, and for KFUNC a BTF id with
    the index in `fd_array` of its module (0: vmlinux) above it, `index << 32 | id`.

    Raises: BuildError if a name has no number, or a field does not fit.
    """
    slot = _SLOT[byteorder]
    out = bytearray()
    for insn in insns:
        off, imm = _numbers(insn, lookup)
        high, low = (insn.src, insn.dst) if byteorder == "little" else (insn.dst, insn.src)
        regs = high << 4 | low
        try:
            if insn.opcode == abi.LD_IMM64:
                out += slot.pack(insn.opcode, regs, off, _signed32(imm))
                out += slot.pack(0, 0, 0, _signed32(imm >> 32))
            else:
                out += slot.pack(insn.opcode, regs, off, imm)
        except struct.error as error:
            raise BuildError(f"{insn!r} cannot be encoded: {error}", insn.origin) from error
    return bytes(out)


def decode(data: bytes, byteorder: ByteOrder = sys.byteorder) -> tuple[Insn, ...]:
    """Decode an array of `struct bpf_insn`; names and labels are gone from it.

    Raises: AbiError if it is cut short, inside a 64-bit immediate load or elsewhere.
    """
    if len(data) % abi.INSN_BYTES:
        raise AbiError(f"{len(data)} bytes are no whole number of instructions", "bpf_insn")
    insns: list[Insn] = []
    slots = enumerate(_SLOT[byteorder].iter_unpack(data))
    for index, (opcode, regs, off, imm) in slots:
        high, low = regs >> 4, regs & 0xF
        src, dst = (high, low) if byteorder == "little" else (low, high)
        if opcode == abi.LD_IMM64:
            second = next(slots, None)
            if second is None or second[1][:3] != (0, 0, 0):
                raise AbiError("64-bit load without its second half", "bpf_insn", index * 8)
            imm = (second[1][3] & 0xFFFF_FFFF) << 32 | imm & 0xFFFF_FFFF
        insns.append(Insn(opcode, dst, src, off, imm))
    return tuple(insns)


def _numbers(insn: Insn, lookup: Lookup | None) -> tuple[int, int]:
    # off and imm, with the reference replaced by its number.
    ref = insn.ref
    if ref is None:
        return insn.off, insn.imm
    number = _look_up(insn, ref, lookup)
    if ref.kind is RefKind.MAP_VALUE:
        return insn.off, ref.offset << 32 | number
    if ref.kind is RefKind.KFUNC:
        return number >> 32, number & 0xFFFF_FFFF
    return insn.off, number


def _look_up(insn: Insn, ref: Ref, lookup: Lookup | None) -> int:
    if lookup is None or ref.kind is RefKind.LABEL:
        raise BuildError(f"{ref.kind.value} {ref} is not resolved", insn.origin)
    if not isinstance(lookup, Mapping):
        return lookup(ref)
    number = lookup.get(Ref(ref.kind, ref.name))
    if number is None:
        raise BuildError(f"{ref.kind.value} {ref.name} has no number", insn.origin)
    return number


def _signed32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >= 1 << 31 else value
