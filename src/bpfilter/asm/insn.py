"""One eBPF instruction as a value, and the names it may still have to be given numbers for."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

from bpfilter.abi import insn as abi
from bpfilter.dataclass import dataclass, field


class Reg(IntEnum):
    """A register; R10 is the frame pointer, which programs only read."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10

    def __str__(self) -> str:
        return f"r{self.value}"


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Reg

#: The largest unsigned numbers: masks.
U32: Final = 0xFFFF_FFFF
U64: Final = 0xFFFF_FFFF_FFFF_FFFF


class Size(IntEnum):
    """Width of a memory access; the value is the opcode's size bits."""

    B = abi.BPF_B
    H = abi.BPF_H
    W = abi.BPF_W
    DW = abi.BPF_DW

    @property
    def nbytes(self) -> int:
        return _NBYTES[self]


_NBYTES = {Size.B: 1, Size.H: 2, Size.W: 4, Size.DW: 8}


class RefKind(Enum):
    """What a name in an instruction stands for."""

    LABEL = "label"  # jump target, subprogram called, or subprogram whose address is taken
    MAP = "map"  # ld_imm64: the map itself
    MAP_VALUE = "map value"  # ld_imm64: address of the map's first value, plus offset
    KFUNC = "kfunc"  # call of a kernel function by name
    TYPE = "type"  # imm: vmlinux BTF id of a struct


@dataclass(frozen=True, slots=True)
class Ref:
    """A name that becomes a number later; `offset` (bytes) is for MAP_VALUE only."""

    kind: RefKind
    name: str
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.name}+{self.offset}" if self.offset else self.name


@dataclass(frozen=True, slots=True)
class Insn:
    """One instruction; a 64-bit immediate load is one value here and two slots on the wire.

    `off` is signed 16 bits, `imm` signed 32 bits (unsigned 64 for the immediate load).
    `label` names this place, `ref` is a name yet to be resolved, and `origin` is what
    the instruction was made for (a rule, say); origin takes no part in equality.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    ref: Ref | None = None
    label: str | None = None
    origin: object | None = field(default=None, compare=False)

    @property
    def insn_class(self) -> int:
        return self.opcode & abi.CLASS_MASK

    @property
    def op(self) -> int:
        """Operation bits of an arithmetic or jump opcode."""
        return self.opcode & abi.OP_MASK

    @property
    def uses_src(self) -> bool:
        """Whether an arithmetic or jump opcode takes its second operand from `src`."""
        return bool(self.opcode & abi.SOURCE_MASK)

    @property
    def size(self) -> Size:
        """Access width of a load, store or atomic."""
        return Size(self.opcode & abi.SIZE_MASK)

    @property
    def mode(self) -> int:
        """Mode bits of a load, store or atomic."""
        return self.opcode & abi.MODE_MASK

    @property
    def slots(self) -> int:
        """8-byte slots taken on the wire; jump offsets count these."""
        return 2 if self.opcode == abi.LD_IMM64 else 1

    @property
    def is_jump(self) -> bool:
        """Whether it goes to a label: conditional or not, but no call and no exit."""
        return self.insn_class in (abi.BPF_JMP, abi.BPF_JMP32) and self.op not in (
            abi.BPF_CALL,
            abi.BPF_EXIT,
        )

    @property
    def is_conditional(self) -> bool:
        return self.is_jump and self.op != abi.BPF_JA

    @property
    def is_sub_call(self) -> bool:
        """Whether it calls a subprogram of the same program."""
        return self.opcode == abi.CALL and self.src == abi.BPF_PSEUDO_CALL

    @property
    def is_func_address(self) -> bool:
        """Whether it loads the address of a subprogram (a callback)."""
        return self.opcode == abi.LD_IMM64 and self.src == abi.BPF_PSEUDO_FUNC
