"""Run extractors alone on raw packets, and read the fields they fill.

A program made of the prologue and the extractors copies its packet words into a map;
BPF_PROG_TEST_RUN gives it packets. The kernel has them begin at the network header
at OUTPUT, and puts nothing into page fragments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Self

from bpfilter.abi.bpf import MapType, ProgramType
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R6, R7, R10, Size
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program, hook_state
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.compiler import emit
from bpfilter.compiler.extract import extract
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Family, Hook
from tests.harness.recorder import kernel_types

WORDS_MAP = "words"
READ = 1  # what the program returns; 0: the packet could not be read at all


class Extraction:
    """The extractors of a family, for some fields; close it, or use it in a `with` block."""

    def __init__(
        self,
        family: Family,
        fields: Iterable[Field],
        hook: Hook = Hook.OUTPUT,
        words: Mapping[str, set[int]] | None = None,
    ) -> None:
        """`words` limits fields, by name, to some of their words."""
        self.family = family
        self.hook = hook
        self.fields = tuple(fields)
        only = words or {}
        wanted = frozenset(
            (one.name, word)
            for one in self.fields
            for word in only.get(one.name, range(one.words))
        )
        self.layout = lay_out_frame(wanted, family)
        self.count = len(set(self.layout.slots.values()))
        kernel = LinuxKernel()
        with ExitStack() as stack:
            spec = MapSpec(WORDS_MAP, MapType.ARRAY, 4, 4 * self.count, 1)
            self.words = stack.enter_context(Map.create(kernel, spec))
            self.program = stack.enter_context(
                Program.load(kernel, self._spec(wanted), {WORDS_MAP: self.words}, kernel_types())
            )
            self._stack = stack.pop_all()

    def _spec(self, wanted: frozenset[tuple[str, int]]) -> ProgramSpec:
        b = Builder("extraction")
        p = Prologue(
            b, Target(kernel_types(), 1, 250), self.layout, self.family, self.hook, wanted
        )
        b.load(R6, R1, emit.CTX_SKB)
        b.load(R7, R1, emit.CTX_STATE)
        p.clear_words()
        extract(p)
        b.load_map_value(R1, WORDS_MAP)
        for slot in range(self.count):
            b.load(R2, R10, self.layout.word_offset(slot), Size.W)
            b.store(R1, 4 * slot, R2, Size.W)
        b.mov(R0, READ)
        b.exit()
        b.label(p.unreadable)
        b.mov(R0, 0)
        b.exit()
        return ProgramSpec("extraction", ProgramType.NETFILTER, b.build())

    def asks(self, name: str) -> bool:
        return any(one.name == name for one in self.fields)

    def run(self, packet: bytes) -> dict[str, int] | None:
        """Give the fields of a packet as numbers, None if it could not be read.

        A field of several words is one number, first word uppermost.
        """
        run = self.program.test_run(packet, hook_state(self.hook, self.family))
        if run.retval != READ:
            return None
        data = self.words.lookup(0)
        assert data is not None
        words = struct.unpack(f"={self.count}I", data)
        found: dict[str, int] = {}
        for one in self.fields:
            value = 0
            for word in range(one.words):
                place = self.layout.places.get((one.name, word))
                bits = words[place.slot] >> place.shift & (1 << place.bits) - 1 if place else 0
                value = value << one.bits | bits
            found[one.name] = value
        return found

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
