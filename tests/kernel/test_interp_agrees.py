"""The interpreter against the kernel: random programs leave the same state in both."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, note, settings

from bpfilter.abi.bpf import MapType, ProgramType
from bpfilter.asm.check import check
from bpfilter.asm.insn import Insn
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import ArrayModel
from bpfilter.asm.resolve import resolve
from bpfilter.asm.show import show
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.kernel.linux import LinuxKernel
from tests.harness import insns_gen
from tests.harness.insns_gen import STATE, STATE_BYTES, Step

pytestmark = pytest.mark.skipif(
    sys.byteorder != "little", reason="the interpreter is a little-endian machine"
)

ETHERNET_FRAME = bytes(64)


def run_in_kernel(kernel: LinuxKernel, insns: tuple[Insn, ...], state: bytes) -> tuple[int, bytes]:
    """Test-run a program; R0 (32 bits) and the state it leaves."""
    array = MapSpec(STATE, MapType.ARRAY, 4, STATE_BYTES, 1, contents=state)
    spec = ProgramSpec("random", ProgramType.SCHED_CLS, insns)
    with (
        Map.create(kernel, array) as made,
        Program.load(kernel, spec, {STATE: made}) as program,
    ):
        result = program.test_run(ETHERNET_FRAME).retval
        left = made.lookup(0)
    assert left is not None
    return result, left


def run_in_interpreter(insns: tuple[Insn, ...], state: bytes) -> tuple[int, bytes]:
    memory = Memory()
    array = ArrayModel(memory, STATE, STATE_BYTES, contents=state)
    machine = Machine(insns, {STATE: array}, memory=memory)
    result = machine.run(memory.add("ctx", 192).base)
    return result & 0xFFFF_FFFF, bytes(array.values.data)


@settings(max_examples=400, deadline=None)
@given(drawn=insns_gen.programs, state=insns_gen.states)
def test_random_programs(kernel: LinuxKernel, drawn: list[Step], state: bytes) -> None:
    insns = resolve(insns_gen.assemble(drawn))
    note(show(insns))
    assert check(insns) == []
    assert run_in_interpreter(insns, state) == run_in_kernel(kernel, insns, state)
