"""Instructions as text: slot number, labels, and what each group was made for.

    ; filter INPUT rule 1
       0: r1 = &hits[8]
       2: r2 = 1
       3: lock *(u64 *)(r1 + 0) += r2
    out:
       4: w0 = 0
       5: exit

`w` registers are the lower halves (32-bit operations). The text is for people and for
golden tests; it is not read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import HELPER_NAMES
from bpfilter.asm.flow import Flow, flow
from bpfilter.asm.insn import Insn, RefKind, Size

_ALU = {
    abi.BPF_MOV: "=",
    abi.BPF_ADD: "+=",
    abi.BPF_SUB: "-=",
    abi.BPF_MUL: "*=",
    abi.BPF_DIV: "/=",
    abi.BPF_MOD: "%=",
    abi.BPF_OR: "|=",
    abi.BPF_AND: "&=",
    abi.BPF_XOR: "^=",
    abi.BPF_LSH: "<<=",
    abi.BPF_RSH: ">>=",
    abi.BPF_ARSH: "s>>=",
}

_JUMP = {
    abi.BPF_JEQ: "==",
    abi.BPF_JNE: "!=",
    abi.BPF_JGT: ">",
    abi.BPF_JGE: ">=",
    abi.BPF_JLT: "<",
    abi.BPF_JLE: "<=",
    abi.BPF_JSET: "&",
    abi.BPF_JSGT: "s>",
    abi.BPF_JSGE: "s>=",
    abi.BPF_JSLT: "s<",
    abi.BPF_JSLE: "s<=",
}

_ATOMIC = {
    abi.BPF_ADD: "+=",
    abi.BPF_OR: "|=",
    abi.BPF_AND: "&=",
    abi.BPF_XOR: "^=",
}

_TYPE = {Size.B: "8", Size.H: "16", Size.W: "32", Size.DW: "64"}


def show(insns: Sequence[Insn]) -> str:
    """Give the listing of a program, resolved or not; one line each, newline at the end."""
    where = flow(insns)
    lines: list[str] = []
    origin: object | None = None
    for index, insn in enumerate(insns):
        if insn.origin is not None and insn.origin != origin:
            lines.append(f"; {insn.origin}")
        origin = insn.origin
        if insn.label is not None:
            lines.append(f"{insn.label}:")
        lines.append(f"{where.slots[index]:4}: {show_insn(insn, _target(insns, where, index))}")
    return "".join(f"{line}\n" for line in lines)


def show_insn(insn: Insn, target: str = "") -> str:
    """Give one instruction as text; `target` is what to print for the place it leads to."""
    if insn.ref is not None and insn.ref.kind is RefKind.LABEL:
        target = target or insn.ref.name
    return _BY_CLASS[insn.insn_class](insn, target)


def _target(insns: Sequence[Insn], where: Flow, index: int) -> str:
    if index not in where.targets:
        return ""
    target = where.targets[index]
    if target is None:
        return ""
    return insns[target].label or str(where.slots[target])


def _show_alu(insn: Insn, _target: str) -> str:
    wide = insn.insn_class == abi.BPF_ALU64
    kind = "r" if wide else "w"
    dst = f"{kind}{insn.dst}"
    if insn.op == abi.BPF_NEG:
        return f"{dst} = -{dst}"
    if insn.op == abi.BPF_END:
        order = "bswap" if wide else "be" if insn.uses_src else "le"
        return f"r{insn.dst} = {order}{insn.imm} r{insn.dst}"
    if insn.op not in _ALU:
        return _unknown(insn)
    operator = _ALU[insn.op]
    if insn.ref is not None:
        return f"{dst} {operator} type {insn.ref}"
    if insn.op == abi.BPF_MOV and insn.off:
        return f"{dst} = (s{insn.off}){kind}{insn.src}"
    if insn.off:
        operator = f"s{operator}"
    return f"{dst} {operator} {_operand(insn, kind)}"


def _show_jump(insn: Insn, target: str) -> str:
    target = target or f"{insn.imm if insn.opcode == abi.GOTOL else insn.off:+d}"
    if insn.opcode == abi.JA:
        return f"goto {target}"
    if insn.opcode == abi.GOTOL:
        return f"gotol {target}"
    if insn.opcode == abi.MAY_GOTO:
        return f"may_goto {target}"
    if insn.opcode == abi.EXIT:
        return "exit"
    if insn.opcode == abi.CALL:
        return _show_call(insn, target)
    if insn.op not in _JUMP:
        return _unknown(insn)
    kind = "r" if insn.insn_class == abi.BPF_JMP else "w"
    condition = f"{kind}{insn.dst} {_JUMP[insn.op]} {_operand(insn, kind)}"
    return f"if {condition} goto {target}"


def _show_call(insn: Insn, target: str) -> str:
    if insn.src == abi.BPF_PSEUDO_CALL:
        return f"call sub {target}"
    if insn.src == abi.BPF_PSEUDO_KFUNC_CALL:
        return f"call kfunc {insn.ref or insn.imm}"
    return f"call {HELPER_NAMES.get(insn.imm, f'helper {insn.imm}')}"


def _show_load(insn: Insn, target: str) -> str:
    if insn.opcode != abi.LD_IMM64:
        return _unknown(insn)
    value: object = f"{insn.imm:#x}"
    if insn.src == abi.BPF_PSEUDO_FUNC:
        value = f"sub {target or value}"
    elif insn.src == abi.BPF_PSEUDO_MAP_FD:
        value = f"map {insn.ref or insn.imm}"
    elif insn.src == abi.BPF_PSEUDO_MAP_VALUE:
        name = insn.ref.name if insn.ref else insn.imm & 0xFFFF_FFFF
        value = f"&{name}[{insn.ref.offset if insn.ref else insn.imm >> 32}]"
    return f"r{insn.dst} = {value}"


def _show_ldx(insn: Insn, _target: str) -> str:
    if insn.mode not in (abi.BPF_MEM, abi.BPF_MEMSX):
        return _unknown(insn)
    sign = "s" if insn.mode == abi.BPF_MEMSX else "u"
    return f"r{insn.dst} = {_memory(insn, insn.src, sign)}"


def _show_st(insn: Insn, _target: str) -> str:
    return f"{_memory(insn, insn.dst)} = {insn.imm}"


def _show_stx(insn: Insn, _target: str) -> str:
    place = _memory(insn, insn.dst)
    if insn.mode == abi.BPF_MEM:
        return f"{place} = r{insn.src}"
    if insn.imm == abi.BPF_XCHG:
        return f"r{insn.src} = xchg({place}, r{insn.src})"
    if insn.imm == abi.BPF_CMPXCHG:
        return f"r0 = cmpxchg({place}, r0, r{insn.src})"
    if insn.imm & ~abi.BPF_FETCH not in _ATOMIC:
        return _unknown(insn)
    fetch = f"r{insn.src} = " if insn.imm & abi.BPF_FETCH else ""
    return f"{fetch}lock {place} {_ATOMIC[insn.imm & ~abi.BPF_FETCH]} r{insn.src}"


_BY_CLASS: dict[int, Callable[[Insn, str], str]] = {
    abi.BPF_LD: _show_load,
    abi.BPF_LDX: _show_ldx,
    abi.BPF_ST: _show_st,
    abi.BPF_STX: _show_stx,
    abi.BPF_ALU: _show_alu,
    abi.BPF_ALU64: _show_alu,
    abi.BPF_JMP: _show_jump,
    abi.BPF_JMP32: _show_jump,
}


def _operand(insn: Insn, kind: str) -> str:
    return f"{kind}{insn.src}" if insn.uses_src else str(insn.imm)


def _memory(insn: Insn, base: int, sign: str = "u") -> str:
    off = f"{'-' if insn.off < 0 else '+'} {abs(insn.off)}"
    return f"*({sign}{_TYPE[insn.size]} *)(r{base} {off})"


def _unknown(insn: Insn) -> str:
    return f"opcode {insn.opcode:#04x} dst={insn.dst} src={insn.src} {insn.off:+d} {insn.imm:#x}"
