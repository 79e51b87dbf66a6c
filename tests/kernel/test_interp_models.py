"""The interpreter's maps and tail calls against the kernel's: same results, same contents."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter.abi.bpf import MapType, ProgramType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R6, R7, R9, R10, Insn, Size
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import ArrayModel, HashModel, MapModel, ProgramArrayModel
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.kernel.linux import LinuxKernel

ETHERNET_FRAME = bytes(64)
ENTRIES = 4

# The program's orders, in the one value of the map "order": operation, flags, key, value.
LOOKUP, UPDATE, DELETE = range(3)
_KEY, _VALUE, ORDER_BYTES = 16, 24, 32

Kind = Literal["array", "hash"]


@dataclass(frozen=True)
class Order:
    operation: int
    key: int
    value: int = 0
    flags: int = 0

    def pack(self) -> bytes:
        numbers = (self.operation, self.flags, self.key, self.value)
        return b"".join(number.to_bytes(8, "little") for number in numbers)


def obedient() -> tuple[Insn, ...]:
    """Do what the order says to the map "table"; R0 is what the helper gave.

    A look-up adds 1 to the value found, and gives it.
    """
    b = Builder()
    b.load_map_value(R9, "order")
    b.load(R6, R9, 0)
    b.load(R4, R9, 8)
    b.load_map(R1, "table")
    b.mov(R2, R9)
    b.add(R2, _KEY)
    b.mov(R3, R9)
    b.add(R3, _VALUE)
    b.jeq(R6, UPDATE, "update")
    b.jeq(R6, DELETE, "delete")
    b.call(Helper.MAP_LOOKUP_ELEM)
    b.jeq(R0, 0, "out")
    b.mov(R2, 1)
    b.fetch_add(R0, 0, R2)
    b.mov(R0, R2)
    b.exit()
    b.label("update")
    b.call(Helper.MAP_UPDATE_ELEM)
    b.exit()
    b.label("delete")
    b.call(Helper.MAP_DELETE_ELEM)
    b.label("out")
    b.exit()
    return b.build()


keys = st.integers(0, ENTRIES + 2)
orders = st.one_of(
    st.builds(Order, st.just(LOOKUP), keys),
    st.builds(Order, st.just(DELETE), keys),
    st.builds(Order, st.just(UPDATE), keys, st.integers(0, 1 << 31), st.integers(0, 3)),
)

Outcome = tuple[list[int], dict[int, int]]


def in_kernel(kernel: LinuxKernel, kind: Kind, given_orders: list[Order]) -> Outcome:
    types = {"array": MapType.ARRAY, "hash": MapType.HASH}
    with (
        Map.create(kernel, MapSpec("order", MapType.ARRAY, 4, ORDER_BYTES, 1)) as order,
        Map.create(kernel, MapSpec("table", types[kind], 4, 8, ENTRIES)) as table,
        Program.load(
            kernel,
            ProgramSpec("obedient", ProgramType.SCHED_CLS, obedient()),
            {"order": order, "table": table},
        ) as program,
    ):
        results = []
        for each in given_orders:
            order.update(0, each.pack())
            results.append(program.test_run(ETHERNET_FRAME).retval)
        values = {key: table.lookup(key) for key in range(ENTRIES + 3)}
    return results, {k: int.from_bytes(v, "little") for k, v in values.items() if v is not None}


def in_interpreter(kind: Kind, given_orders: list[Order]) -> Outcome:
    memory = Memory()
    order = ArrayModel(memory, "order", ORDER_BYTES)
    table: MapModel
    if kind == "array":
        table = ArrayModel(memory, "table", 8, ENTRIES)
    else:
        table = HashModel(memory, "table", 4, 8, ENTRIES)
    machine = Machine(obedient(), {"order": order, "table": table}, memory=memory)
    results = []
    for each in given_orders:
        order.put(0, each.pack())
        results.append(machine.run(0) & 0xFFFF_FFFF)
    values = {key: table.get(key.to_bytes(4, "little")) for key in range(ENTRIES + 3)}
    return results, {k: int.from_bytes(v, "little") for k, v in values.items() if v is not None}


@pytest.mark.parametrize("kind", ["array", "hash"])
@settings(max_examples=100, deadline=None)
@given(given_orders=st.lists(orders, max_size=30))
def test_maps(kernel: LinuxKernel, kind: Kind, given_orders: list[Order]) -> None:
    assert in_interpreter(kind, given_orders) == in_kernel(kernel, kind, given_orders)


def counting_tail_calls() -> tuple[Insn, ...]:
    """Count up in the map "count", call itself; R0 is 1000 more than the count at the end."""
    b = Builder()
    b.mov(R6, R1)
    b.load_map_value(R9, "count")
    b.load(R2, R9, 0)
    b.add(R2, 1)
    b.store(R9, 0, R2)
    b.load_map(R2, "programs")
    b.mov(R3, 0)
    b.call(Helper.TAIL_CALL)
    b.load(R0, R9, 0)
    b.load(R2, R6, 0, Size.W)  # the context is still there
    b.add(R0, 1000)
    b.exit()
    return b.build()


def test_tail_calls_end_at_the_same_number(kernel: LinuxKernel) -> None:
    insns = counting_tail_calls()
    with ExitStack() as stack:
        count = stack.enter_context(Map.create(kernel, MapSpec("count", MapType.ARRAY, 4, 8, 1)))
        programs = stack.enter_context(
            Map.create(kernel, MapSpec("programs", MapType.PROG_ARRAY, 4, 4, 1))
        )
        spec = ProgramSpec("counting", ProgramType.SCHED_CLS, insns)
        maps = {"count": count, "programs": programs}
        program = stack.enter_context(Program.load(kernel, spec, maps))
        programs.update(0, program.fd.number)
        expected = program.test_run(ETHERNET_FRAME).retval
        programs.delete(0)  # the array and the program hold each other
    memory = Memory()
    machine = Machine(
        insns,
        {
            "count": ArrayModel(memory, "count", 8),
            "programs": ProgramArrayModel(memory, "programs", {0: insns}),
        },
        memory=memory,
    )
    assert machine.run(memory.add("ctx", 192).base) == expected


def counting_up() -> tuple[Insn, ...]:
    """Add up the numbers between the two s32 in the map "range"; R0 is sum, or error."""
    b = Builder()
    b.mov(R7, 0)
    b.load_map_value(R9, "range")
    b.load(R2, R9, 0, Size.W)
    b.load(R3, R9, 4, Size.W)
    _iterate(b, "bpf_iter_num_new")
    b.mov(R6, R0)
    b.label("again")
    _iterate(b, "bpf_iter_num_next")
    b.jeq(R0, 0, "done")
    b.load(R1, R0, 0, Size.W)
    b.add32(R7, R1)
    b.jump("again")
    b.label("done")
    _iterate(b, "bpf_iter_num_destroy")
    b.mov32(R0, R6)
    b.jne32(R0, 0, "out")
    b.mov32(R0, R7)
    b.label("out")
    b.exit()
    return b.build()


def _iterate(b: Builder, kfunc: str) -> None:
    b.mov(R1, R10)
    b.add(R1, -8)
    b.kfunc(kfunc)


RANGES = [
    (0, 10),
    (5, 5),
    (-4, 3),
    (6, 2),
    (0, (1 << 23) + 1),
    (-(1 << 31), 0),
    (-(1 << 31), 3 - (1 << 31)),
]


def test_number_iterators(kernel: LinuxKernel, types: KernelTypes) -> None:
    memory = Memory()
    model = ArrayModel(memory, "range", 8)
    machine = Machine(counting_up(), {"range": model}, memory=memory)
    spec = ProgramSpec("counting_up", ProgramType.SCHED_CLS, counting_up())
    with (
        Map.create(kernel, MapSpec("range", MapType.ARRAY, 4, 8, 1)) as made,
        Program.load(kernel, spec, {"range": made}, types) as program,
    ):
        for start, end in RANGES:
            numbers = struct.pack("<ii", start, end)
            made.update(0, numbers)
            model.put(0, numbers)
            expected = program.test_run(ETHERNET_FRAME).retval
            assert machine.run(0) & 0xFFFF_FFFF == expected, (start, end)
