"""The interpreter's maps and tail calls against the kernel's: same results, same contents."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter.abi.bpf import MapType, ProgramType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R6, R9, Insn, Size
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import ArrayModel, HashModel, MapModel, ProgramArrayModel
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.kernel.linux import LinuxKernel

pytestmark = pytest.mark.kernel

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


def in_kernel(kind: Kind, given_orders: list[Order]) -> Outcome:
    kernel = LinuxKernel()
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
@given(st.lists(orders, max_size=30))
def test_maps(kind: Kind, given_orders: list[Order]) -> None:
    assert in_interpreter(kind, given_orders) == in_kernel(kind, given_orders)


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


def test_tail_calls_end_at_the_same_number() -> None:
    insns = counting_tail_calls()
    kernel = LinuxKernel()
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
