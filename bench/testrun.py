"""Nanoseconds a packet by BPF_PROG_TEST_RUN: a hook's program alone, without the stack around it.

The kernel gives a netfilter program the same packet every time. So the program is compiled
as ever, but for a few instructions behind its reading of that packet: they put the words of
the next packet of a trace in the place of those read. Reading the packet is in the figure,
and so are these instructions; nothing is subtracted. The empty program only takes the next
packet of the trace, and drops.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Self
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench import families
from bench.families import Family as RuleFamily
from bench.families import Packets
from bench.families.model import PACKET, TRACE, UDP
from bench.lab import pinned
from bench.plan import Bench
from bench.results import EMPTY_PROGRAM, EVEN, OURS, What
from bench.rig import Mismatch
from bench.traffic import TRACE_ENTRY, next_entry, template, trace_bytes, trace_maps
from bpfilter.abi.bpf import ProgramType
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, Size
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program, hook_state
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.compiler.build import Compiled
from bpfilter.compiler.counters import COUNTER_ABORTED, COUNTER_FIRST, COUNTERS_MAP
from bpfilter.compiler.emit import emit_program
from bpfilter.compiler.prologue import Prologue
from bpfilter.compiler.target import Target
from bpfilter.firewall.dispatch import NF_DROP
from bpfilter.firewall.given import GivenText
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family, Hook

#: Words of the frame (field that gives it its name) and what they get: from the trace, or a
#: constant. Guards say "can be read", and TCP flags are SYN.
_FROM_TRACE = ("saddr", "daddr", "ports", "l3")
_CONSTANT = {"guards": 0, "l4": 0x02}
_TTL = 64
_NFPROTO_IPV4 = 2
#: The packet that the kernel is given.
_SAMPLE = np.array([(0x0A01_0101, 0x0A02_0202, 1024, 53, UDP, -1)], PACKET)
#: Runs in one call: few enough to be over, as a rule, before something else gets the CPU.
_RUNS = 8192
#: Rounds of the trace in a measurement.
_ROUNDS = 2


class TestRun:
    """The FORWARD program of some rules, loaded and ready to be timed on a trace."""

    def __init__(self, kernel: Kernel, target: Target, family: RuleFamily) -> None:
        self.family = family
        self._calls = 0
        with contextlib.ExitStack() as stack, _overriding(_take_next):
            readable = GivenText(family.text, family.name, Family.IPV4).readable
            self._compiled = readable.compile({}, target).compiled
            specs = {**self._compiled.maps, **trace_maps(words(family.packets))}
            maps = _made(kernel, stack, specs)
            self._counters = maps[COUNTERS_MAP]
            spec = self._compiled.programs[Hook.FORWARD]
            self._program = stack.enter_context(Program.load(kernel, spec, maps, target.types))
            self._stack = stack.pop_all()

    def run(self) -> float:
        """Give the nanoseconds of a packet: see `time_program`."""
        self._calls += 1
        return time_program(self._program)

    def verify(self) -> None:
        """Look whether the packets met their rules. Raises: Mismatch."""
        counted = _counted(self._counters, self._compiled)
        if counted[COUNTER_ABORTED]:
            raise Mismatch(f"{counted[COUNTER_ABORTED]} packets were given up")
        if self.family.exact:
            drawn = np.bincount(self.family.packets["rule"], minlength=self.family.rules)
            expected = np.sort(drawn * self._calls * _ROUNDS)
            found = np.sort(counted[COUNTER_FIRST:])[-self.family.rules :]
            if not np.array_equal(expected, found):
                raise Mismatch("the counters are not those of the trace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()


@contextlib.contextmanager
def empty(kernel: Kernel, packets: Packets) -> Iterator[Program]:
    """Have the empty program loaded for a `with` block."""
    with contextlib.ExitStack() as stack:
        maps = _made(kernel, stack, trace_maps(words(packets)))
        yield stack.enter_context(Program.load(kernel, _empty_program(), maps))


def time_program(program: Program) -> float:
    """Run a program on whole rounds of the trace; gives the nanoseconds of one run.

    That is the average of _RUNS in a row, and the median of these.
    """
    frame = bytearray(template())
    frame[22 : 22 + TRACE_ENTRY] = trace_bytes(_SAMPLE)[:TRACE_ENTRY]
    state = hook_state(Hook.FORWARD, _NFPROTO_IPV4)
    times = (
        program.test_run(bytes(frame), state, repeat=_RUNS).duration_ns
        for _ in range(_ROUNDS * TRACE // _RUNS)
    )
    return float(statistics.median(times))


def words(packets: Packets) -> bytes:
    """Give the packet words of a trace, as the program has them on its stack."""
    out = np.zeros((len(packets), len(_FROM_TRACE)), np.uint32)
    out[:, 0], out[:, 1] = packets["saddr"], packets["daddr"]
    out[:, 2] = packets["sport"].astype(np.uint32) << 16 | packets["dport"]
    out[:, 3] = _TTL << 8 | packets["proto"].astype(np.uint32)
    return out[np.arange(TRACE) % len(packets)].tobytes()


def _take_next(prologue: Prologue) -> None:
    b, slots = prologue.b, prologue.frame.slots
    next_entry(b, R1, TRACE_ENTRY)
    for place, name in enumerate(_FROM_TRACE):
        if (name, 0) in slots:
            b.load(R2, R1, 4 * place, Size.W)
            prologue.store_word(slots[name, 0], R2)
    for name, value in _CONSTANT.items():
        if (name, 0) in slots:
            b.mov(R2, value)
            prologue.store_word(slots[name, 0], R2)


def _overriding(
    override: Callable[[Prologue], None],
) -> contextlib.AbstractContextManager[object]:
    # There is no other way in, and no need of one outside of a benchmark.
    emit = partial(emit_program, override=override)
    return mock.patch("bpfilter.compiler.build.emit_program", emit)


def _empty_program() -> ProgramSpec:
    b = Builder("bench_empty")
    next_entry(b, R1, TRACE_ENTRY)
    b.load(R2, R1, 0)
    b.mov(R0, NF_DROP)
    b.exit()
    return ProgramSpec("bench_empty", ProgramType.NETFILTER, b.build())


def _made(
    kernel: Kernel, stack: contextlib.ExitStack, specs: Mapping[str, MapSpec]
) -> dict[str, Map]:
    return {name: stack.enter_context(Map.create(kernel, spec)) for name, spec in specs.items()}


def _counted(counters: Map, compiled: Compiled) -> NDArray[np.int64]:
    # CPU by CPU, counter by counter, packets and bytes as u64.
    with counters.mmap() as memory:
        values = np.frombuffer(memory[:], np.int64)
    width = 2 * compiled.counters_per_cpu
    cpus = len(values) // width
    each = values[: cpus * width].reshape(cpus, compiled.counters_per_cpu, 2)
    total: NDArray[np.int64] = each[:, :, 0].sum(axis=0)
    return total


def measure(bench: Bench, target: Target) -> None:
    """Time all families at all sizes; a round visits each of them. Raises: Mismatch."""
    runs: list[tuple[int, TestRun]] = []
    with contextlib.ExitStack() as stack:
        for name, sizes in bench.plan.sizes.items():
            for size in sizes:
                family = families.make(name, size, bench.plan.seed)
                bench.say(f"{name}, {family.rules:,} rules: test run")
                runs.append((size, stack.enter_context(TestRun(bench.kernel, target, family))))
        nothing = stack.enter_context(empty(bench.kernel, family.packets))
        with pinned():
            for _ in range(bench.plan.rounds):
                for size, run in runs:
                    run.run()  # into the caches
                    bench.note(What.TEST_RUN, run.family.name, size, OURS, run.run(), EVEN)
                bench.note(What.TEST_RUN, "", 0, EMPTY_PROGRAM, time_program(nothing), EVEN)
        for _, run in runs:
            run.verify()
