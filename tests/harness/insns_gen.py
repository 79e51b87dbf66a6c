"""Random programs that the verifier accepts: what hypothesis draws, and how it is built.

A program keeps a pointer to its state, one array value of STATE_BYTES, in R9: first the
registers R0-R8 (8 bytes each), read at the start and written at the end, then a work
area for loads, stores and atomics. All else is what the steps do, jumps only forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R8, R9, R10, Insn, Reg, Size

STATE = "state"
STATE_BYTES = 256
_WORK = 80  # where the work area begins
_GENERAL = [Reg(number) for number in range(9)]


@dataclass(frozen=True)
class Step:
    """One operation; arguments named `skip` become a label so many steps further on."""

    name: str
    args: tuple[Any, ...] = ()
    skip: int | None = None


u64 = st.integers(0, (1 << 64) - 1) | st.sampled_from(
    [0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1]
)
s32 = st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-3, 3)
regs = st.sampled_from(_GENERAL)
sizes = st.sampled_from(list(Size))
states = st.tuples(st.lists(u64, min_size=9, max_size=9), st.binary(min_size=64, max_size=64)).map(
    lambda pair: b"".join(n.to_bytes(8, "little") for n in pair[0]) + bytes(8) + pair[1]
)


def _both_widths(names: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([*names, *(f"{name.rstrip('_')}32" for name in names)])


def _steps(name: st.SearchStrategy[str], *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, name, st.tuples(*args))


@st.composite
def _memory(draw: st.DrawFn, names: list[str], sizes: list[Size]) -> Step:
    size = draw(st.sampled_from(sizes))
    offset = _WORK + size.nbytes * draw(st.integers(0, 64 // size.nbytes - 1))
    name = draw(st.sampled_from(names))
    reg = draw(regs)
    if name in ("load", "loadsx"):
        return Step(name, (reg, R9, offset, size))
    if name == "store" and draw(st.booleans()):
        low = -(1 << min(size.nbytes * 8, 32) - 1)
        return Step(name, (R9, offset, draw(st.integers(low, -low - 1)), size))
    if name == "store":
        return Step(name, (R9, offset, reg, size))
    return Step(name, (R9, offset, reg, size))


_ARITHMETIC = ["add", "sub", "mul", "or_", "and_", "xor", "mov"]
_DIVISION = ["div", "mod"]
_SHIFTS = ["lsh", "rsh", "arsh"]
_SIGNED = ["sdiv", "smod"]  # Linux 6.6, as are movsx, bswap and loadsx
_UNSIGNED_CONDITIONS = ["jeq", "jne", "jgt", "jge", "jlt", "jle", "jset"]
_CONDITIONS = [*_UNSIGNED_CONDITIONS, "jsgt", "jsge", "jslt", "jsle"]
_NARROW = [f"{order}{bits}" for order in ("be", "le", "bswap") for bits in (16, 32, 64)]
_ATOMICS = [f"{kind}_{op}" for kind in ("atomic", "fetch") for op in ("add", "or", "and", "xor")]

steps: st.SearchStrategy[Step] = st.one_of(
    _steps(_both_widths(_ARITHMETIC), regs, regs | s32),
    _steps(_both_widths(_DIVISION + _SIGNED), regs, regs | s32.filter(bool)),
    _steps(_both_widths(_SHIFTS), regs, regs | st.integers(0, 31)),
    _steps(st.sampled_from(_SHIFTS), regs, st.integers(32, 63)),
    _steps(st.sampled_from(["neg", "neg32", *_NARROW]), regs),
    _steps(
        st.sampled_from(["movsx8", "movsx16", "movsx32", "movsx8_32", "movsx16_32"]), regs, regs
    ),
    _steps(st.just("imm64"), regs, u64),
    st.builds(Step, _both_widths(_CONDITIONS), st.tuples(regs, regs | s32), st.integers(0, 6)),
    st.builds(Step, st.just("jump"), st.tuples(regs), st.integers(1, 3)),
    _memory(["load", "store"], list(Size)),
    _memory(["loadsx"], [Size.B, Size.H, Size.W]),
    _memory([*_ATOMICS, "xchg", "cmpxchg"], [Size.W, Size.DW]),
    st.builds(Step, st.just("call_sub")),
    st.builds(Step, st.just("loop"), st.tuples(st.integers(0, 9))),
)

#: Fewer conditions than would make the verifier walk too many paths.
programs = st.lists(steps, min_size=1, max_size=40).filter(
    lambda drawn: sum(step.skip is not None for step in drawn) <= 10
)


def assemble(drawn: list[Step]) -> tuple[Insn, ...]:
    """Build the program the steps describe."""
    b = Builder("random")
    b.load_map_value(R9, STATE)
    if any(step.name == "loop" for step in drawn):
        # Linux 6.18 fails on a callback that is never reached, with "verifier bug: No
        # program to jit"; here is a loop that the verifier cannot tell to be dead.
        b.load(R1, R9, _WORK, Size.B)
        _loop(b, R1, 0)
    for reg in _GENERAL:
        b.load(reg, R9, 8 * reg)
    for index, step in enumerate(drawn):
        b.label(f"step{index}")
        goal = f"step{min(index + 1 + (step.skip or 0), len(drawn))}"
        if step.name in _CALLS:
            _CALLS[step.name](b, *step.args)
        elif step.name == "jump":  # conditional after all: what it skips must be reachable
            b.jset(step.args[0], 1, f"step{index + 1}")
            b.jump(goal)
        elif step.skip is not None:
            getattr(b, step.name)(*step.args, goal)
        else:
            getattr(b, step.name)(*step.args)
    b.label(f"step{len(drawn)}")
    for reg in _GENERAL:
        b.store(R9, 8 * reg, reg)
    b.exit()
    return (*b.build(), *_subprograms(drawn))


def _call_sub(b: Builder) -> None:
    b.call_sub("sub")
    _reload(b)


def _loop(b: Builder, count: Reg | int, total: Reg | int = R8) -> None:
    b.store(R10, -8, total)
    b.mov(R1, count)
    b.load_func(R2, "callback")
    b.mov(R3, R10)
    b.add(R3, -8)
    b.mov(R4, 0)
    b.call(Helper.LOOP)
    b.load(R8, R10, -8)
    _reload(b)


def _reload(b: Builder) -> None:
    # Calls lose R1-R5; here they become what they were at the start.
    for reg in _GENERAL[1:6]:
        b.load(reg, R9, 8 * reg)


_CALLS: dict[str, Callable[..., None]] = {"call_sub": _call_sub, "loop": _loop}


def _subprograms(drawn: list[Step]) -> tuple[Insn, ...]:
    names = {step.name for step in drawn} & set(_CALLS)
    b = Builder("subprograms")
    if "call_sub" in names:
        b.label("sub")
        b.store(R10, -512 + 64, R1)  # its own frame
        b.load(R0, R10, -512 + 64)
        b.xor(R0, R2)
        b.sub(R0, R3)
        b.mov(R8, 0)  # the caller's is kept
        b.exit()
    if "loop" in names:
        b.label("callback")
        b.load(R3, R2, 0)
        b.mul(R3, 3)
        b.add(R3, R1)
        b.store(R2, 0, R3)
        b.mov(R4, R3)
        b.and_(R4, 7)
        b.mov(R0, 0)
        b.jne(R4, 5, "go on")
        b.mov(R0, 1)
        b.label("go on")
        b.exit()
    return b.build() if names else ()
