"""Kernel functions as the interpreter has them."""

from __future__ import annotations

import errno

import pytest

from bpfilter.asm.build import Builder
from bpfilter.asm.fakes import Fake
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.rules.model import Hook
from bpfilter.simulate.kfuncs import BPF_MAX_LOOPS, CutShortError, kfuncs
from bpfilter.simulate.layouts import bundled_types
from bpfilter.simulate.packet import Packet, Surroundings
from bpfilter.simulate.world import World
from tests.unit.simulate.test_link import V4

U64 = (1 << 64) - 1


class Bench:
    """A world with one packet, and memory to call functions with."""

    def __init__(self, packet: Packet, linear: int | None = None) -> None:
        self.memory = Memory()
        self.world = World(self.memory, bundled_types(), linear)
        self.world.enter(packet, Hook.INPUT, Surroundings("eth0"))
        self.functions: dict[str, Fake] = dict(kfuncs(self.world))
        self.machine = idle_machine(self.memory)
        self.room = self.memory.add("room", 64).base

    def call(self, name: str, *args: int) -> int:
        padded = (*args, *[0] * (5 - len(args)))
        return self.functions[name](self.machine, padded)  # type: ignore[arg-type]

    def slice(self, offset: int, nbytes: int) -> bytes | None:
        at = self.call("bpf_dynptr_slice", 0, offset, self.room, nbytes)
        return self.memory.read(at, nbytes) if at else None


def idle_machine(memory: Memory) -> Machine:
    b = Builder()
    b.exit()
    return Machine(b.build(), memory=memory)


@pytest.mark.parametrize("linear", [None, 0, 10, 24])
def test_slices_are_the_packet(linear: int | None) -> None:
    bench = Bench(Packet(V4), linear)
    for offset in range(len(V4)):
        for nbytes in (1, 4, 20):
            wanted = V4[offset : offset + nbytes]
            assert bench.slice(offset, nbytes) == (wanted if len(wanted) == nbytes else None)
    assert bench.slice(1 << 40, 4) is None


def test_slices_beyond_the_linear_part_are_copies() -> None:
    bench = Bench(Packet(V4), 24)
    assert bench.call("bpf_dynptr_slice", 0, 20, bench.room, 4) == bench.world.data_address + 20
    assert bench.call("bpf_dynptr_slice", 0, 21, bench.room, 4) == bench.room


def test_slices_end_where_the_capture_does() -> None:
    bench = Bench(Packet(V4[:24], length=28))
    assert bench.slice(20, 4) == V4[20:24]
    assert bench.slice(26, 4) is None
    with pytest.raises(CutShortError):
        bench.slice(21, 4)


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [(0, 3, [0, 1, 2]), (-2, 1, [-2, -1, 0]), (5, 5, []), (7, 8, [7])],
)
def test_iterator(start: int, end: int, numbers: list[int]) -> None:
    bench = Bench(Packet(V4))
    assert bench.call("bpf_iter_num_new", bench.room, start & U64, end & U64) == 0
    seen = []
    while at := bench.call("bpf_iter_num_next", bench.room):
        seen.append(int.from_bytes(bench.memory.read(at, 4), "little", signed=True))
    assert seen == numbers
    assert bench.call("bpf_iter_num_next", bench.room) == 0
    assert bench.call("bpf_iter_num_destroy", bench.room) == 0


@pytest.mark.parametrize(
    ("start", "end", "status"),
    [(1, 0, -errno.EINVAL), (0, BPF_MAX_LOOPS + 1, -errno.E2BIG), (0, BPF_MAX_LOOPS, 0)],
)
def test_iterators_have_limits(start: int, end: int, status: int) -> None:
    bench = Bench(Packet(V4))
    assert bench.call("bpf_iter_num_new", bench.room, start, end) == status
    assert (bench.call("bpf_iter_num_next", bench.room) == 0) is (status != 0)
