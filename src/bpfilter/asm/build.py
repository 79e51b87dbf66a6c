"""A builder that reads like an assembly listing: a method per operation, destination first.

    b = Builder("count")
    b.load_map_value(R1, "hits")
    b.mov(R2, 1)
    b.atomic_add(R1, 0, R2)
    b.mov(R0, 0)
    b.exit()

A wrong operand raises BuildError at the call that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
from bpfilter.asm.insn import Insn, Ref, RefKind, Reg, Size
from bpfilter.dataclass import replace
from bpfilter.errors import BuildError

Operand = Reg | int


def _alu(op: int, wide: bool = True, off: int = 0) -> Callable[[Builder, Reg, Operand], None]:
    def emit(self: Builder, dst: Reg, src: Operand) -> None:
        opcode = op | (abi.BPF_ALU64 if wide else abi.BPF_ALU)
        self._two_operands(opcode, self._writable(dst), src, wide, off=off)

    return emit


def _unary(opcode: int, imm: int = 0) -> Callable[[Builder, Reg], None]:
    def emit(self: Builder, dst: Reg) -> None:
        self.emit(Insn(opcode, dst=self._writable(dst), imm=imm))

    return emit


def _sign_extend(bits: int, wide: bool = True) -> Callable[[Builder, Reg, Reg], None]:
    opcode = abi.BPF_MOV | abi.BPF_X | (abi.BPF_ALU64 if wide else abi.BPF_ALU)

    def emit(self: Builder, dst: Reg, src: Reg) -> None:
        self.emit(Insn(opcode, dst=self._writable(dst), src=self._register(src), off=bits))

    return emit


def _jump(op: int, wide: bool = True) -> Callable[[Builder, Reg, Operand, str], None]:
    def emit(self: Builder, dst: Reg, src: Operand, label: str) -> None:
        opcode = op | (abi.BPF_JMP if wide else abi.BPF_JMP32)
        ref = Ref(RefKind.LABEL, label)
        self._two_operands(opcode, self._register(dst), src, wide, ref=ref)

    return emit


def _atomic(imm: int) -> Callable[..., None]:
    fetches = bool(imm & abi.BPF_FETCH) and imm != abi.BPF_CMPXCHG

    def emit(self: Builder, dst: Reg, off: int, src: Reg, size: Size = Size.DW) -> None:
        if size not in (Size.W, Size.DW):
            raise self._error(f"an atomic operation takes 4 or 8 bytes, not {size.nbytes}")
        base = self._register(dst)
        value = self._writable(src) if fetches else self._register(src)
        opcode = abi.BPF_STX | abi.BPF_ATOMIC | size
        self.emit(Insn(opcode, base, value, self._offset(off), imm))

    return emit


class Builder:
    """Collects instructions of one program, or of one part of it.

    `dst` and `src` are registers; where an operand may also be a number, it is 32 bits,
    sign-extended to 64 by the wide operations (so `and_(R1, 0xffffffff)` is refused).
    Offsets are bytes, signed 16 bits.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._insns: list[Insn] = []
        self._pending: list[str] = []  # labels waiting for their instruction
        self._labels: set[str] = set()
        self._aliases: dict[str, str] = {}  # further labels of one place -> its first
        self._origin: object | None = None
        self._fresh = 0

    # Arithmetic, 64 bits. Division by zero gives 0, modulo by zero leaves dst; the shift
    # count is taken modulo the width.
    mov = _alu(abi.BPF_MOV)
    add = _alu(abi.BPF_ADD)
    sub = _alu(abi.BPF_SUB)
    mul = _alu(abi.BPF_MUL)
    div = _alu(abi.BPF_DIV)
    mod = _alu(abi.BPF_MOD)
    and_ = _alu(abi.BPF_AND)
    or_ = _alu(abi.BPF_OR)
    xor = _alu(abi.BPF_XOR)
    lsh = _alu(abi.BPF_LSH)
    rsh = _alu(abi.BPF_RSH)
    arsh = _alu(abi.BPF_ARSH)
    neg = _unary(abi.BPF_ALU64 | abi.BPF_NEG)

    # Arithmetic, 32 bits; the upper half of dst becomes zero.
    mov32 = _alu(abi.BPF_MOV, wide=False)
    add32 = _alu(abi.BPF_ADD, wide=False)
    sub32 = _alu(abi.BPF_SUB, wide=False)
    mul32 = _alu(abi.BPF_MUL, wide=False)
    div32 = _alu(abi.BPF_DIV, wide=False)
    mod32 = _alu(abi.BPF_MOD, wide=False)
    and32 = _alu(abi.BPF_AND, wide=False)
    or32 = _alu(abi.BPF_OR, wide=False)
    xor32 = _alu(abi.BPF_XOR, wide=False)
    lsh32 = _alu(abi.BPF_LSH, wide=False)
    rsh32 = _alu(abi.BPF_RSH, wide=False)
    arsh32 = _alu(abi.BPF_ARSH, wide=False)
    neg32 = _unary(abi.BPF_ALU | abi.BPF_NEG)

    # Since Linux 6.6 only: signed division, sign-extending moves, unconditional byte swap.
    sdiv = _alu(abi.BPF_DIV, off=1)
    smod = _alu(abi.BPF_MOD, off=1)
    sdiv32 = _alu(abi.BPF_DIV, wide=False, off=1)
    smod32 = _alu(abi.BPF_MOD, wide=False, off=1)
    movsx8 = _sign_extend(8)
    movsx16 = _sign_extend(16)
    movsx32 = _sign_extend(32)
    movsx8_32 = _sign_extend(8, wide=False)
    movsx16_32 = _sign_extend(16, wide=False)
    bswap16 = _unary(abi.BPF_ALU64 | abi.BPF_END, 16)
    bswap32 = _unary(abi.BPF_ALU64 | abi.BPF_END, 32)
    bswap64 = _unary(abi.BPF_ALU64 | abi.BPF_END, 64)

    # Byte order: host to big or little endian, which is also the way back; the bits above
    # the given width become zero.
    be16 = _unary(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_BE, 16)
    be32 = _unary(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_BE, 32)
    be64 = _unary(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_BE, 64)
    le16 = _unary(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_LE, 16)
    le32 = _unary(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_LE, 32)
    le64 = _unary(abi.BPF_ALU | abi.BPF_END | abi.BPF_TO_LE, 64)

    # Conditional jumps, (dst, src, label): unsigned, then signed (jset: dst & src != 0).
    jeq = _jump(abi.BPF_JEQ)
    jne = _jump(abi.BPF_JNE)
    jgt = _jump(abi.BPF_JGT)
    jge = _jump(abi.BPF_JGE)
    jlt = _jump(abi.BPF_JLT)
    jle = _jump(abi.BPF_JLE)
    jset = _jump(abi.BPF_JSET)
    jsgt = _jump(abi.BPF_JSGT)
    jsge = _jump(abi.BPF_JSGE)
    jslt = _jump(abi.BPF_JSLT)
    jsle = _jump(abi.BPF_JSLE)
    jeq32 = _jump(abi.BPF_JEQ, wide=False)
    jne32 = _jump(abi.BPF_JNE, wide=False)
    jgt32 = _jump(abi.BPF_JGT, wide=False)
    jge32 = _jump(abi.BPF_JGE, wide=False)
    jlt32 = _jump(abi.BPF_JLT, wide=False)
    jle32 = _jump(abi.BPF_JLE, wide=False)
    jset32 = _jump(abi.BPF_JSET, wide=False)
    jsgt32 = _jump(abi.BPF_JSGT, wide=False)
    jsge32 = _jump(abi.BPF_JSGE, wide=False)
    jslt32 = _jump(abi.BPF_JSLT, wide=False)
    jsle32 = _jump(abi.BPF_JSLE, wide=False)

    # Atomics on memory at dst + off, (dst, off, src, size=Size.DW). The fetching ones leave
    # the old value in src; cmpxchg stores src if memory equals R0, and leaves the old in R0.
    atomic_add = _atomic(abi.BPF_ADD)
    atomic_or = _atomic(abi.BPF_OR)
    atomic_and = _atomic(abi.BPF_AND)
    atomic_xor = _atomic(abi.BPF_XOR)
    fetch_add = _atomic(abi.BPF_ADD | abi.BPF_FETCH)
    fetch_or = _atomic(abi.BPF_OR | abi.BPF_FETCH)
    fetch_and = _atomic(abi.BPF_AND | abi.BPF_FETCH)
    fetch_xor = _atomic(abi.BPF_XOR | abi.BPF_FETCH)
    xchg = _atomic(abi.BPF_XCHG)
    cmpxchg = _atomic(abi.BPF_CMPXCHG)

    def imm64(self, dst: Reg, value: int) -> None:
        """Load any 64-bit value (signed or unsigned); two slots on the wire."""
        if not -(1 << 63) <= value < 1 << 64:
            raise self._error(f"{value:#x} does not fit 64 bits")
        self.emit(Insn(abi.LD_IMM64, self._writable(dst), imm=value & ((1 << 64) - 1)))

    def load(self, dst: Reg, src: Reg, off: int, size: Size = Size.DW) -> None:
        """dst = memory at src + off, zero-extended."""
        opcode = abi.BPF_LDX | abi.BPF_MEM | size
        self.emit(Insn(opcode, self._writable(dst), self._register(src), self._offset(off)))

    def loadsx(self, dst: Reg, src: Reg, off: int, size: Size) -> None:
        """dst = memory at src + off, sign-extended; up to 4 bytes (Linux 6.6)."""
        if size is Size.DW:
            raise self._error("a sign-extending load takes at most 4 bytes")
        opcode = abi.BPF_LDX | abi.BPF_MEMSX | size
        self.emit(Insn(opcode, self._writable(dst), self._register(src), self._offset(off)))

    def store(self, dst: Reg, off: int, src: Operand, size: Size = Size.DW) -> None:
        """Memory at dst + off = a register, or a number (of 32 bits, sign-extended)."""
        base = self._register(dst)
        if isinstance(src, Reg):
            opcode = abi.BPF_STX | abi.BPF_MEM | size
            self.emit(Insn(opcode, base, int(src), self._offset(off)))
            return
        bits = size.nbytes * 8
        highest = 1 << (31 if size is Size.DW else bits)
        if not -(1 << min(bits, 32) - 1) <= src < highest:
            raise self._error(f"{src:#x} does not fit a store of {size.nbytes} bytes")
        opcode = abi.BPF_ST | abi.BPF_MEM | size
        self.emit(Insn(opcode, base, off=self._offset(off), imm=_signed32(src)))

    def label(self, name: str) -> None:
        """Give the next instruction a name to jump to."""
        if name in self._labels:
            raise self._error(f"label {name} is defined twice")
        self._labels.add(name)
        self._pending.append(name)

    def fresh(self, prefix: str = "L") -> str:
        """Give a label name not used before in this builder; it contains the builder's name."""
        self._fresh += 1
        return f"{self.name}.{prefix}.{self._fresh}"

    def jump(self, label: str) -> None:
        self.emit(Insn(abi.JA, ref=Ref(RefKind.LABEL, label)))

    def may_goto(self, label: str) -> None:
        """Go on, but jump after so many times (8 million) or so long that a loop must end here.

        The verifier takes it for a way out of the loop around it (Linux 6.9).
        """
        self.emit(Insn(abi.MAY_GOTO, ref=Ref(RefKind.LABEL, label)))

    def call(self, helper: Helper | int) -> None:
        """Call a helper: arguments R1-R5, result R0."""
        self.emit(Insn(abi.CALL, imm=int(helper)))

    def kfunc(self, name: str) -> None:
        """Call a kernel function by name: arguments R1-R5, result R0."""
        self.emit(Insn(abi.CALL, src=abi.BPF_PSEUDO_KFUNC_CALL, ref=Ref(RefKind.KFUNC, name)))

    def call_sub(self, label: str) -> None:
        """Call a subprogram of this program: its own stack frame, arguments R1-R5, result R0."""
        self.emit(Insn(abi.CALL, src=abi.BPF_PSEUDO_CALL, ref=Ref(RefKind.LABEL, label)))

    def load_func(self, dst: Reg, label: str) -> None:
        """dst = address of a subprogram, for a helper which calls back."""
        self._load_ref(dst, abi.BPF_PSEUDO_FUNC, Ref(RefKind.LABEL, label))

    def load_map(self, dst: Reg, name: str) -> None:
        """dst = the map, for a helper."""
        self._load_ref(dst, abi.BPF_PSEUDO_MAP_FD, Ref(RefKind.MAP, name))

    def load_map_value(self, dst: Reg, name: str, offset: int = 0) -> None:
        """dst = address of byte `offset` of an array map's values; no look-up, no null check."""
        if not 0 <= offset < 1 << 32:
            raise self._error(f"offset {offset} of map {name} does not fit 32 bits")
        self._load_ref(dst, abi.BPF_PSEUDO_MAP_VALUE, Ref(RefKind.MAP_VALUE, name, offset))

    def type_id(self, dst: Reg, struct_name: str) -> None:
        """dst = BTF id of a struct of the kernel, for `bpf_rdonly_cast`."""
        ref = Ref(RefKind.TYPE, struct_name)
        self.emit(Insn(abi.BPF_ALU64 | abi.BPF_MOV | abi.BPF_K, self._writable(dst), ref=ref))

    def exit(self) -> None:
        """Return R0 to the caller."""
        self.emit(Insn(abi.EXIT))

    @contextmanager
    def origin(self, origin: object) -> Iterator[None]:
        """Instructions built inside say that they were made for `origin`."""
        outer, self._origin = self._origin, origin
        try:
            yield
        finally:
            self._origin = outer

    def emit(self, insn: Insn) -> None:
        """Append an instruction; it gets the pending labels and the current origin."""
        if insn.label is not None:
            self.label(insn.label)
        label = None
        if self._pending:
            label, *others = self._pending
            self._aliases.update(dict.fromkeys(others, label))
            self._pending.clear()
        origin = insn.origin if self._origin is None else self._origin
        if label is not insn.label or origin is not insn.origin:
            insn = replace(insn, label=label, origin=origin)
        self._insns.append(insn)

    def build(self) -> tuple[Insn, ...]:
        """Give the instructions, names unresolved; raises BuildError if a label ends them."""
        if self._pending:
            raise self._error(f"label {self._pending[0]} has no instruction after it")
        if not self._aliases:
            return tuple(self._insns)
        return tuple([self._without_alias(insn) for insn in self._insns])

    def _without_alias(self, insn: Insn) -> Insn:
        ref = insn.ref
        if ref is None or ref.kind is not RefKind.LABEL or ref.name not in self._aliases:
            return insn
        return replace(insn, ref=Ref(RefKind.LABEL, self._aliases[ref.name]))

    def _two_operands(
        self, opcode: int, dst: int, src: Operand, wide: bool, off: int = 0, ref: Ref | None = None
    ) -> None:
        if isinstance(src, Reg):
            self.emit(Insn(opcode | abi.BPF_X, dst, int(src), off, ref=ref))
            return
        if not -(1 << 31) <= src < (1 << 31 if wide else 1 << 32):
            raise self._error(f"{src:#x} does not fit a 32-bit immediate")
        self.emit(Insn(opcode | abi.BPF_K, dst, 0, off, _signed32(src), ref=ref))

    def _load_ref(self, dst: Reg, pseudo: int, ref: Ref) -> None:
        self.emit(Insn(abi.LD_IMM64, self._writable(dst), src=pseudo, ref=ref))

    def _register(self, reg: Reg) -> int:
        if not isinstance(reg, Reg):
            raise self._error(f"{reg!r} is not a register")
        return int(reg)

    def _writable(self, reg: Reg) -> int:
        if reg is Reg.R10:
            raise self._error("the frame pointer r10 cannot be written")
        return self._register(reg)

    def _offset(self, off: int) -> int:
        if not -(1 << 15) <= off < 1 << 15:
            raise self._error(f"offset {off} does not fit 16 bits")
        return int(off)

    def _error(self, message: str) -> BuildError:
        where = f"{self.name}: " if self.name else ""
        return BuildError(f"{where}{message}", self._origin)


def _signed32(value: int) -> int:
    value = int(value) & 0xFFFF_FFFF
    return value - (1 << 32) if value >= 1 << 31 else value
