"""eBPF to Python source, for speed: what the interpreter runs is this, compiled.

Each jump target begins a Python function of the registers, `r`; it runs until a jump
is taken or the next target is met, and gives the function to go on with, or None at
exit. One line of Python is one instruction, so that a traceback names the instruction:

    def b0(r):
        r[6] = load8(r[1] + 16)
        if r[6] == 0: fuel[0] -= 2; return b7
        r[0] = r[6] + 1 & 18446744073709551615
        fuel[0] -= 4; return None

The functions' surroundings (memory access, calls, fuel) are what interp.py puts there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
from bpfilter.asm import alu
from bpfilter.asm.flow import Flow, ends_flow, flow
from bpfilter.asm.insn import U64, Insn, Ref
from bpfilter.dataclass import dataclass
from bpfilter.errors import InterpError

#: Number of a name: map handles and values, type ids.
Linker = Callable[[Ref], int]

_ARGUMENTS: Final = "r[1], r[2], r[3], r[4], r[5]"
_LOSE: Final = "r[1:6] = lost"

_ATOMIC: Final = {
    abi.BPF_ADD: "add",
    abi.BPF_OR: "or_",
    abi.BPF_AND: "and_",
    abi.BPF_XOR: "xor",
}


@dataclass(frozen=True, slots=True)
class Translation:
    """`source` defines function `b<index>` for each index in `blocks`.

    `lines[n - 1]` is the index of the instruction at line n of the source, or -1.
    `callbacks` are the indices of subprograms whose address is taken.
    """

    source: str
    lines: tuple[int, ...]
    blocks: tuple[int, ...]
    callbacks: tuple[int, ...]


def translate(insns: Sequence[Insn], link: Linker, code_base: int) -> Translation:
    """Translate a whole program; the address of the subprogram at index i is `code_base + i`.

    Raises: InterpError if an opcode is not known.
    """
    where = flow(insns)
    leaders = sorted({*where.entries, *(t for t in where.targets.values() if t is not None)})
    source: list[str] = []
    lines: list[int] = []
    writer = _Writer(insns, where, link, code_base)
    for start, stop in zip(leaders, [*leaders[1:], len(insns)], strict=True):
        source.append(f"def b{start}(r):")
        lines.append(-1)
        for index, line in writer.block(start, stop):
            source.append(f"    {line}")
            lines.append(index)
    callbacks = {
        target
        for index, target in where.targets.items()
        if target is not None and insns[index].is_func_address
    }
    return Translation("\n".join(source), tuple(lines), tuple(leaders), tuple(sorted(callbacks)))


class _Writer:
    def __init__(self, insns: Sequence[Insn], where: Flow, link: Linker, code_base: int) -> None:
        self.insns = insns
        self.where = where
        self.link = link
        self.code_base = code_base

    def block(self, start: int, stop: int) -> Iterator[tuple[int, str]]:
        for index in range(start, stop):
            insn = self.insns[index]
            used = f"fuel[0] -= {index - start + 1}"
            yield index, self.line(index, insn, used)
            if ends_flow(insn):
                return  # what follows cannot be reached
        following = f"return b{stop}" if stop < len(self.insns) else "past_the_end()"
        yield stop - 1, f"fuel[0] -= {stop - start}; {following}"

    def line(self, index: int, insn: Insn, used: str) -> str:
        match insn.insn_class:
            case abi.BPF_ALU | abi.BPF_ALU64:
                return self.arithmetic(insn)
            case abi.BPF_JMP | abi.BPF_JMP32:
                return self.jump(index, insn, used)
            case abi.BPF_LDX:
                return _load(insn)
            case abi.BPF_ST:
                value = insn.imm & U64
                return f"store{insn.size.nbytes}({_address(insn.dst, insn.off)}, {value})"
            case abi.BPF_STX if insn.mode == abi.BPF_MEM:
                address = _address(insn.dst, insn.off)
                return f"store{insn.size.nbytes}({address}, r[{insn.src}])"
            case abi.BPF_STX if insn.mode == abi.BPF_ATOMIC:
                return _atomic(insn)
        if insn.opcode == abi.LD_IMM64:
            return f"r[{insn.dst}] = {self.constant(index, insn)}"
        raise _unknown(insn)

    def arithmetic(self, insn: Insn) -> str:
        if insn.ref is not None:
            return f"r[{insn.dst}] = {self.link(insn.ref)}"
        return f"r[{insn.dst}] = {alu.result(insn)}"

    def constant(self, index: int, insn: Insn) -> int:
        if insn.is_func_address:
            target = self.where.targets[index]
            return 0 if target is None else self.code_base + target
        return insn.imm if insn.ref is None else self.link(insn.ref)

    def jump(self, index: int, insn: Insn, used: str) -> str:
        if insn.opcode == abi.EXIT:
            return f"{used}; return None"
        if insn.opcode == abi.CALL:
            return self.call(index, insn, used)
        target = self.where.targets[index]
        if target is None:
            goal = "nowhere()"
        elif target <= index:
            goal = f"again(b{target})"
        else:
            goal = f"b{target}"
        if insn.opcode == abi.MAY_GOTO:
            return f"if is_endless(): {used}; return {goal}"
        if insn.is_conditional:
            return f"if {alu.condition(insn)}: {used}; return {goal}"
        return f"{used}; return {goal}"

    def call(self, index: int, insn: Insn, used: str) -> str:
        if insn.src == abi.BPF_PSEUDO_CALL:
            target = self.where.targets[index]
            callee = "nowhere()" if target is None else f"b{target}"
            return f"r[0] = enter({callee}, ({_ARGUMENTS})); {_LOSE}"
        if insn.src == abi.BPF_HELPER_CALL and insn.imm == Helper.TAIL_CALL:
            return f"if goal := tail_call(r): {used}; return goal"
        if insn.src in (abi.BPF_HELPER_CALL, abi.BPF_PSEUDO_KFUNC_CALL):
            return f"r[0] = call{index}(machine, ({_ARGUMENTS})) & {U64}; {_LOSE}"
        raise _unknown(insn)


def _address(register: int, off: int) -> str:
    # Not cut to 64 bits here: memory does that if the address is not in order.
    if off == 0:
        return f"r[{register}]"
    return f"r[{register}] {'-' if off < 0 else '+'} {abs(off)}"


def _load(insn: Insn) -> str:
    value = f"load{insn.size.nbytes}({_address(insn.src, insn.off)})"
    if insn.mode == abi.BPF_MEMSX:
        value = f"sign_extend({value}, {insn.size.nbytes * 8}, 64)"
    elif insn.mode != abi.BPF_MEM:
        raise _unknown(insn)
    return f"r[{insn.dst}] = {value}"


def _atomic(insn: Insn) -> str:
    nbytes, address = insn.size.nbytes, _address(insn.dst, insn.off)
    if insn.imm == abi.BPF_CMPXCHG:
        return f"r[0] = compare_exchange({address}, {nbytes}, r[0], r[{insn.src}])"
    if insn.imm == abi.BPF_XCHG:
        return f"r[{insn.src}] = exchange({address}, {nbytes}, r[{insn.src}])"
    operation = _ATOMIC.get(insn.imm & ~abi.BPF_FETCH)
    if operation is None or nbytes < 4:
        raise _unknown(insn)
    fetch = f"r[{insn.src}] = " if insn.imm & abi.BPF_FETCH else ""
    return f"{fetch}update({address}, {nbytes}, {operation}, r[{insn.src}])"


def _unknown(insn: Insn) -> InterpError:
    return InterpError(f"opcode {insn.opcode:#04x} (imm {insn.imm:#x}) is not known")
