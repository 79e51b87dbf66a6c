"""Run the extractors at a hook on real packets, and read what they found for each of them.

With the kernel's own matches setting bits of the packet mark at an earlier hook (table
mangle), a record holds the kernel's answer beside the extractor's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import ExitStack, closing
from functools import cache
from typing import Self

from bpfilter.abi.bpf import MapFlags, MapType, ProgramType
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R6, R7, R10, Size
from bpfilter.bpf.link import NetfilterLink
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler import emit
from bpfilter.compiler.extract import extract
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Family, Hook
from tests.harness.netns import Namespace

RECORDS_MAP = "records"
RECORDS = 1 << 16
HEADER = 16  # u64 packets seen, u64 packets that could not be read
PRIORITY = -1
HZ = 250


@cache
def kernel_types() -> KernelTypes:
    return KernelTypes.of_kernel(LinuxKernel())


class Recorder:
    """The extractors of a family at one hook of a namespace; accepts every packet."""

    def __init__(
        self, namespace: Namespace, family: Family, hook: Hook, fields: Iterable[Field]
    ) -> None:
        self.fields = tuple(fields)
        wanted = frozenset((one.name, word) for one in self.fields for word in range(one.words))
        self.layout = lay_out_frame(wanted, family)
        self.count = len(set(self.layout.slots.values()))
        kernel = LinuxKernel()
        with ExitStack() as stack:
            size = HEADER + 4 * self.count * RECORDS
            spec = MapSpec(RECORDS_MAP, MapType.ARRAY, 4, size, 1, MapFlags.MMAPABLE)
            records = stack.enter_context(Map.create(kernel, spec))
            self._memory = stack.enter_context(closing(records.mmap()))
            program = self._program(family, hook, wanted)
            self.program = stack.enter_context(
                Program.load(kernel, program, {RECORDS_MAP: records}, kernel_types())
            )
            with kernel.in_netns(namespace.path):
                stack.enter_context(
                    NetfilterLink.attach(kernel, self.program, family, hook, PRIORITY)
                )
            self._stack = stack.pop_all()

    def _program(
        self, family: Family, hook: Hook, wanted: frozenset[tuple[str, int]]
    ) -> ProgramSpec:
        b = Builder("recorder")
        p = Prologue(b, Target(kernel_types(), 1, HZ), self.layout, family, hook, wanted)
        b.load(R6, R1, emit.CTX_SKB)
        b.load(R7, R1, emit.CTX_STATE)
        p.clear_words()
        extract(p)
        b.mov(R2, 1)
        b.load_map_value(R1, RECORDS_MAP)
        b.fetch_add(R1, 0, R2)
        b.jgt(R2, RECORDS - 1, "accept")
        b.mul(R2, 4 * self.count)
        b.add(R1, R2)
        for slot in range(self.count):
            b.load(R2, R10, self.layout.word_offset(slot), Size.W)
            b.store(R1, HEADER + 4 * slot, R2, Size.W)
        b.label("accept")
        b.mov(R0, 1)
        b.exit()
        b.label(p.unreadable)
        b.load_map_value(R1, RECORDS_MAP)
        b.mov(R2, 1)
        b.atomic_add(R1, 8, R2)
        b.mov(R0, 1)
        b.exit()
        return ProgramSpec("recorder", ProgramType.NETFILTER, b.build())

    def take(self) -> list[dict[str, int]]:
        """Give the records since the last call; a field of several words is one number."""
        seen, unreadable = struct.unpack_from("=QQ", self._memory)
        assert not unreadable, f"{unreadable} packets could not be read"
        assert seen <= RECORDS, f"{seen} packets do not fit"
        found = [self._record(index) for index in range(seen)]
        self._memory[:HEADER] = bytes(HEADER)
        return found

    def _record(self, index: int) -> dict[str, int]:
        offset = HEADER + 4 * self.count * index
        words = struct.unpack_from(f"={self.count}I", self._memory, offset)
        record: dict[str, int] = {}
        for one in self.fields:
            value = 0
            for word in range(one.words):
                place = self.layout.places.get((one.name, word))
                bits = words[place.slot] >> place.shift & (1 << place.bits) - 1 if place else 0
                value = value << one.bits | bits
            record[one.name] = value
        return record

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
