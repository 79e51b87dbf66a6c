"""A table of faulty programs; each has exactly the problems named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.check import check
from bpfilter.asm.insn import R0, R1, R2, R3, R6, R10, Insn, Size
from bpfilter.asm.resolve import resolve


def leave(b: Builder) -> None:
    b.mov(R0, 0)
    b.exit()


def good(b: Builder) -> None:
    b.mov(R6, R1)
    b.store(R10, -8, R6)
    b.label("again")
    b.call(Helper.GET_PRANDOM_U32)
    b.may_goto("done")
    b.jeq(R0, 0, "again")
    b.label("done")
    b.load_func(R2, "step")
    b.mov(R1, R6)
    b.call_sub("sub")
    b.exit()
    b.label("sub")
    b.mov(R0, R1)
    b.exit()
    b.label("step")
    b.mov(R0, R2)
    b.exit()


def undefined_label(b: Builder) -> None:
    b.jeq(R1, 0, "gone")
    leave(b)


def no_exit(b: Builder) -> None:
    b.mov(R0, 0)


def unreachable(b: Builder) -> None:
    leave(b)
    b.mov(R1, 0)
    b.exit()


def unwritten(b: Builder) -> None:
    b.add(R0, R6)
    b.exit()


def unwritten_if_the_loop_ends_early(b: Builder) -> None:
    b.label("again")
    b.may_goto("out")
    b.mov(R0, 0)
    b.jeq(R1, 0, "again")
    b.label("out")
    b.exit()


def written_on_one_path_only(b: Builder) -> None:
    b.jeq(R1, 0, "skip")
    b.mov(R6, 1)
    b.label("skip")
    b.mov(R0, R6)
    b.exit()


def lost_in_a_call(b: Builder) -> None:
    b.mov(R6, 1)
    b.call(Helper.KTIME_GET_NS)
    b.add(R0, R6)
    b.add(R0, R1)
    b.exit()


def argument_not_given(b: Builder) -> None:
    b.call_sub("sub")
    b.exit()
    b.label("sub")
    b.mov(R0, R2)
    b.exit()


def exit_without_result(b: Builder) -> None:
    b.exit()


def below_the_stack(b: Builder) -> None:
    b.store(R10, -520, R1)
    leave(b)


def above_the_stack(b: Builder) -> None:
    b.load(R0, R10, -4)
    b.exit()


def askew(b: Builder) -> None:
    b.store(R10, -6, 0, Size.W)
    leave(b)


def too_deep_together(b: Builder) -> None:
    b.store(R10, -400, R1)
    b.call_sub("sub")
    b.exit()
    b.label("sub")
    b.store(R10, -120, R1)
    leave(b)


def recursion(b: Builder) -> None:
    b.call_sub("sub")
    b.exit()
    b.label("sub")
    b.call_sub("sub")
    b.exit()


def jump_into_a_subprogram(b: Builder) -> None:
    b.call_sub("sub")
    b.jump("inside")
    b.label("sub")
    b.mov(R0, 0)
    b.label("inside")
    b.exit()


def frame_pointer(b: Builder) -> None:
    b.emit(Insn(abi.BPF_ALU64 | abi.BPF_MOV, dst=10))
    leave(b)


def exchange_without_expectation(b: Builder) -> None:
    b.store(R10, -8, R1)
    b.cmpxchg(R10, -8, R1)
    b.exit()


def two_faults(b: Builder) -> None:
    b.mov(R2, R3)
    b.mov(R0, R6)
    b.exit()


PROGRAMS: list[tuple[Callable[[Builder], None], list[tuple[int, str]]]] = [
    (good, []),
    (undefined_label, [(0, "leads nowhere")]),
    (no_exit, [(0, "past its end")]),
    (unreachable, [(2, "nothing leads here")]),
    (unwritten, [(0, "reads r0"), (0, "reads r6")]),
    (unwritten_if_the_loop_ends_early, [(3, "reads r0")]),
    (written_on_one_path_only, [(2, "reads r6")]),
    (lost_in_a_call, [(3, "reads r1")]),
    (argument_not_given, [(2, "reads r2")]),
    (exit_without_result, [(0, "reads r0")]),
    (below_the_stack, [(0, "outside the 512 bytes")]),
    (above_the_stack, [(0, "outside the 512 bytes")]),
    (askew, [(0, "not aligned to 4")]),
    (too_deep_together, [(3, "takes 544 bytes")]),
    (recursion, [(2, "calls itself")]),
    (jump_into_a_subprogram, [(1, "leaves its subprogram")]),
    (frame_pointer, [(0, "writes the frame pointer")]),
    (exchange_without_expectation, [(1, "reads r0")]),
    (two_faults, [(0, "reads r3"), (1, "reads r6")]),
]


@pytest.mark.parametrize(("write", "expected"), PROGRAMS, ids=[p.__name__ for p, _ in PROGRAMS])
def test_problems(write: Callable[[Builder], None], expected: list[tuple[int, str]]) -> None:
    b = Builder()
    with b.origin("rule 1"):
        write(b)
    problems = check(b.build())
    assert [problem.index for problem in problems] == [index for index, _ in expected]
    for problem, (_, words) in zip(problems, expected, strict=True):
        assert words in problem.message
        assert str(problem) == f"instruction {problem.index}: {problem.message} (for rule 1)"
    if write is not undefined_label:
        assert [p.index for p in check(resolve(b.build()))] == [p.index for p in problems]


def test_parts_with_one_label() -> None:
    part = Insn(abi.BPF_ALU64 | abi.BPF_MOV, label="a"), Insn(abi.EXIT)
    problems = check([*part, *part])
    assert [p.index for p in problems if "defined 2 times" in p.message] == [0, 2]


def test_no_program() -> None:
    assert [str(p) for p in check([])] == ["instruction 0: the program is empty"]
