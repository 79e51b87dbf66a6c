"""What the verifier would refuse, found without a kernel, all of it at once.

Only what needs no types: jumps, subprogram bounds, unreachable instructions, reads of
registers nothing has written, and the stack. Stands before loading, in tests mostly:
a mistake of the compiler shows here with the rule it was made for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bpfilter.abi import insn as abi
from bpfilter.asm.flow import Flow, ends_flow, flow
from bpfilter.asm.insn import Insn, Reg
from bpfilter.asm.show import show_insn
from bpfilter.dataclass import dataclass

_ARGUMENTS = 0b111110  # R1-R5
_FRAME = 1 << Reg.R10


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault at instruction `index` (not slot)."""

    index: int
    message: str
    origin: object | None = None

    def __str__(self) -> str:
        made_for = f" (for {self.origin})" if self.origin is not None else ""
        return f"instruction {self.index}: {self.message}{made_for}"


def check(insns: Sequence[Insn]) -> list[Problem]:
    """Find every problem, ordered by place; an empty list means none."""
    if not insns:
        return [Problem(0, "the program is empty")]
    where = flow(insns)
    found = [
        *_check_labels(insns, where),
        *_check_bounds(insns, where),
        *_check_stack(insns),
        *_check_depth(insns, where),
        *_check_registers(insns, where),
    ]
    return [
        Problem(index, message, insns[index].origin)
        for index, message in sorted(dict.fromkeys(found), key=lambda item: item[0])
    ]


_Found = Iterator[tuple[int, str]]


def _check_labels(insns: Sequence[Insn], where: Flow) -> _Found:
    uses = Counter(insn.label for insn in insns if insn.label)
    for index, insn in enumerate(insns):
        if insn.label and uses[insn.label] > 1:
            yield index, f"label {insn.label} is defined {uses[insn.label]} times"
    for index, target in where.targets.items():
        if target is None:
            yield index, f"`{show_insn(insns[index])}` leads nowhere"


def _check_bounds(insns: Sequence[Insn], where: Flow) -> _Found:
    # Each subprogram is one stretch: entered only by calls, left only by exit.
    for start, stop in zip(where.entries, [*where.entries[1:], len(insns)], strict=True):
        if not ends_flow(insns[stop - 1]):
            yield stop - 1, "the code runs past its end: no exit or jump here"
        for index in range(start, stop):
            target = where.targets.get(index)
            outside = target is not None and not start <= target < stop
            if outside and insns[index].is_jump:
                yield index, f"`{show_insn(insns[index])}` leaves its subprogram"


def _check_stack(insns: Sequence[Insn]) -> _Found:
    for index, insn in enumerate(insns):
        if not _touches_frame(insn):
            continue
        nbytes = insn.size.nbytes
        if not -abi.MAX_STACK <= insn.off <= -nbytes:
            yield index, f"`{show_insn(insn)}` is outside the {abi.MAX_STACK} bytes of stack"
        elif insn.off % nbytes:
            yield index, f"`{show_insn(insn)}` is not aligned to {nbytes} bytes"


def _check_depth(insns: Sequence[Insn], where: Flow) -> _Found:
    # MAX_BPF_STACK holds for a chain of calls as a whole, each frame rounded up to 32 bytes
    # (check_max_stack_depth in kernel/bpf/verifier.c).
    used = dict.fromkeys(where.entries, 0)
    calls: dict[int, set[int]] = {entry: set() for entry in where.entries}
    for index, insn in enumerate(insns):
        entry = where.entry_of(index)
        if _touches_frame(insn):
            used[entry] = max(used[entry], min(-insn.off, abi.MAX_STACK))
        target = where.targets.get(index)
        if target is not None and not insn.is_jump:
            calls[entry].add(target)

    def walk(entry: int, above: int, chain: tuple[int, ...]) -> _Found:
        total = above + -(-max(used[entry], 1) // 32) * 32
        if entry in chain:
            yield entry, "the subprogram calls itself"
        elif len(chain) == abi.MAX_CALL_FRAMES:
            yield entry, f"calls nest more than {abi.MAX_CALL_FRAMES} frames deep"
        elif total > abi.MAX_STACK:
            yield entry, f"the chain of calls up to here takes {total} bytes of stack"
        else:
            for callee in sorted(calls[entry]):
                yield from walk(callee, total, (*chain, entry))

    yield from walk(0, 0, ())


def _check_registers(insns: Sequence[Insn], where: Flow) -> _Found:
    # Forward data flow; a state is the set of registers written on every path, as bits.
    states: list[int | None] = [None] * len(insns)
    work = [(0, 1 << Reg.R1 | _FRAME)]
    while work:
        index, state = work.pop()
        known = states[index]
        state = state if known is None else state & known
        if state == known:
            continue
        states[index] = state
        work.extend(
            (follower, after)
            for follower, after in _followers(insns, where, index, state)
            if follower < len(insns)
        )
    yield from _unreachable(states)
    for index, (insn, reached) in enumerate(zip(insns, states, strict=True)):
        if reached is None:
            continue
        for reg in Reg:
            if _reads(insn) & ~reached & 1 << reg:
                yield index, f"`{show_insn(insn)}` reads {reg}, which may not have been written"
        if _writes(insn) & _FRAME:
            yield index, f"`{show_insn(insn)}` writes the frame pointer"


def _followers(
    insns: Sequence[Insn], where: Flow, index: int, state: int
) -> Iterator[tuple[int, int]]:
    insn = insns[index]
    after = state | _writes(insn)
    if insn.opcode == abi.CALL:
        after = after & ~_ARGUMENTS | 1 << Reg.R0
    target = where.targets.get(index)
    if target is not None:
        if insn.is_jump:
            yield target, after
        elif insn.is_sub_call:
            yield target, state & _ARGUMENTS | _FRAME
        else:  # a callback: which arguments it gets is the helper's business
            yield target, _ARGUMENTS | _FRAME
    if not ends_flow(insn):
        yield index + 1, after


def _unreachable(states: Sequence[int | None]) -> _Found:
    # The first of each run only: the rest follows from it.
    for index, state in enumerate(states):
        if state is None and states[index - 1] is not None:
            yield index, "nothing leads here"


def _touches_frame(insn: Insn) -> bool:
    if insn.insn_class == abi.BPF_LDX:
        return insn.src == Reg.R10
    return insn.insn_class in (abi.BPF_ST, abi.BPF_STX) and insn.dst == Reg.R10


def _reads(insn: Insn) -> int:
    # Registers read, as bits. Calls are left out: how many arguments is up to the callee.
    dst, src = 1 << insn.dst, 1 << insn.src
    match insn.insn_class:
        case abi.BPF_ALU | abi.BPF_ALU64:
            if insn.op in (abi.BPF_END, abi.BPF_NEG):
                return dst
            before = 0 if insn.op == abi.BPF_MOV else dst
            return before | (src if insn.uses_src else 0)
        case abi.BPF_JMP | abi.BPF_JMP32:
            if insn.opcode == abi.MAY_GOTO:
                return 0
            if insn.is_conditional:
                return dst | (src if insn.uses_src else 0)
            return 1 << Reg.R0 if insn.opcode == abi.EXIT else 0
        case abi.BPF_LDX:
            return src
        case abi.BPF_ST:
            return dst
        case abi.BPF_STX:
            exchange = insn.mode == abi.BPF_ATOMIC and insn.imm == abi.BPF_CMPXCHG
            return dst | src | (1 << Reg.R0 if exchange else 0)
        case _:
            return 0


def _writes(insn: Insn) -> int:
    match insn.insn_class:
        case abi.BPF_ALU | abi.BPF_ALU64 | abi.BPF_LD | abi.BPF_LDX:
            return 1 << insn.dst
        case abi.BPF_STX if insn.mode == abi.BPF_ATOMIC:
            if insn.imm == abi.BPF_CMPXCHG:
                return 1 << Reg.R0
            return 1 << insn.src if insn.imm & abi.BPF_FETCH else 0
        case _:
            return 0
