"""Packets through loaded programs in the kernel's test run, one call each, as cheap as may be.

A test run has no input device, mark or connection to give a packet. So the programs are
emitted with a few more instructions: what they would have read of these is then taken from
a map, which is written before each packet.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bpfilter.abi import bpf as abi
from bpfilter.abi import syscalls
from bpfilter.abi.bpf import Command, MapFlags, MapType
from bpfilter.asm.insn import R1, R2, Size
from bpfilter.bpf.program import hook_state
from bpfilter.bpf.spec import MapSpec
from bpfilter.compiler import build, bulk_layout
from bpfilter.compiler.build import Compiled
from bpfilter.compiler.bulk import compile_bulk
from bpfilter.compiler.counters import COUNTER_ABORTED, COUNTER_FIRST, COUNTERS_MAP
from bpfilter.compiler.emit import emit_program
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.build import IndexBuilder
from bpfilter.compiler.index.layout import KeyWords
from bpfilter.compiler.index.search import Search
from bpfilter.compiler.loop import NF_ACCEPT
from bpfilter.compiler.prologue import Prologue
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass, replace
from bpfilter.firewall import apply, counters
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.plan import fields
from bpfilter.rules.bulk import read_bulk
from bpfilter.rules.model import Family, Hook
from tests.harness.large.reference import Bools, Ints, Packets
from tests.harness.large.rules import HOOKS, Ruleset

AROUND_MAP = "around"
#: Words of the map: names of input and output device, mark, connection; or one for each slot.
WORDS = 10
SLOTS = 128
ETHERNET_BYTES = 14
#: bpf_attr of a test run, for arrays of them.
ATTR = np.dtype(
    {
        "names": [*abi.TEST_RUN.fields],
        "formats": [f"={field.code}" for field in abi.TEST_RUN.fields.values()],
        "offsets": [field.offset for field in abi.TEST_RUN.fields.values()],
        "itemsize": abi.TEST_RUN.size,
    }
)


def family_of(version: int) -> Family:
    return Family.IPV4 if version == 4 else Family.IPV6


@dataclass(frozen=True, slots=True)
class Large:
    """A compiled table, what its programs know of packet words, and what its index hashes."""

    compiled: Compiled
    frame: Frame
    search: Search
    key: KeyWords


def read_around(p: Prologue) -> None:
    """Have a program take from AROUND_MAP what a test run has not."""
    places = [(fields.IIF, word, word) for word in range(4)]
    places += [(fields.OIF, word, 4 + word) for word in range(4)]
    places += [(fields.MARK, 0, 8), (fields.CT_STATE, 0, 9)]
    for field, word, at in places:
        if p.wants_word(field, word):
            _take(p, at, p.frame.places[field.name, word].slot)


def read_slots(p: Prologue) -> None:
    """Have a program take all words of its packet from AROUND_MAP, by their slots."""
    for slot in sorted(set(p.frame.slots.values())):
        _take(p, slot, slot)


def _take(p: Prologue, at: int, slot: int) -> None:
    p.b.load_map_value(R1, AROUND_MAP, 4 * at)
    p.b.load(R2, R1, 0, Size.W)
    p.store_word(slot, R2)


def compile_large(
    ruleset: Ruleset, target: Target, override: Callable[[Prologue], None] | None = read_around
) -> Large:
    """Compile as a large table, with instructions behind the reading of packets."""
    tables = read_bulk(ruleset.text(), "large", family_of(ruleset.version))
    assert tables is not None, "not read as columns"
    emitted = partial(emit_program, override=override)
    with (
        mock.patch.object(build, "emit_program", wraps=emitted) as emit,
        mock.patch.object(bulk_layout, "IndexBuilder", wraps=IndexBuilder) as index,
    ):
        compiled = compile_bulk(tables["filter"], target)
    assert index.called, "no chain is searched"
    _, _, _, key, _ = index.call_args.args
    _, _, frame, *_ = emit.call_args.args
    if override:
        spec = MapSpec(AROUND_MAP, MapType.ARRAY, 4, 4 * SLOTS, 1, MapFlags.MMAPABLE)
        compiled = replace(compiled, maps=compiled.maps | {AROUND_MAP: spec})
    searches = (call.kwargs["search"] for call in emit.call_args_list)
    return Large(compiled, frame, next(filter(None, searches)), key)


def around_words(packets: Packets) -> NDArray[np.uint32]:
    """Give what the map is to hold for each packet."""
    names = b"".join(name.encode().ljust(16, b"\0") for name in packets.names)
    words = np.frombuffer(names, ">u4").reshape(-1, 4)
    return np.column_stack(
        [words[packets.iif], words[packets.oif], packets.mark, packets.state]
    ).astype(np.uint32)


class Runs:
    """A compiled ruleset in the kernel, attached to nothing."""

    def __init__(self, kernel: LinuxKernel, compiled: Compiled, loaded: apply.Loaded) -> None:
        self.kernel = kernel
        self.compiled = compiled
        self.loaded = loaded
        self._around = loaded.maps[AROUND_MAP].mmap()
        self._bpf = ctypes.CDLL(None, use_errno=True).syscall
        self._bpf.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)
        self._bpf.restype = ctypes.c_long

    def run(self, packets: Packets) -> Bools:
        """Give the verdicts: what is accepted."""
        accepted = np.zeros(len(packets), np.bool_)
        for number, hook in enumerate(HOOKS):
            which = np.flatnonzero(packets.hook == number)
            if len(which):
                accepted[which] = self._hook(Hook[hook], packets.take(which))
        return accepted

    def _hook(self, hook: Hook, packets: Packets) -> Bools:
        frames = self._frames(packets)
        state = np.frombuffer(hook_state(hook, self.compiled.family), np.uint8).copy()
        # Of packets that are sent a test run wants no link layer.
        skipped = ETHERNET_BYTES if hook is Hook.OUTPUT else 0
        attrs = np.zeros(len(packets), ATTR)
        attrs["prog_fd"] = self.loaded.programs[hook].fd.number
        attrs["ctx_in"], attrs["ctx_size_in"] = state.ctypes.data, len(state)
        attrs["data_size_in"] = packets.length + ETHERNET_BYTES - skipped
        first = frames.ctypes.data + skipped
        attrs["data_in"] = first + np.arange(len(packets)) * frames.shape[1]
        self._call(attrs, around_words(packets))
        return np.asarray(attrs["retval"] == NF_ACCEPT)

    def _frames(self, packets: Packets) -> NDArray[np.uint8]:
        frames = np.zeros((len(packets), ETHERNET_BYTES + packets.data.shape[1]), np.uint8)
        kind = 0x0800 if packets.version == 4 else 0x86DD
        frames[:, 12], frames[:, 13] = kind >> 8, kind & 0xFF
        frames[:, ETHERNET_BYTES:] = packets.data
        return frames

    def _call(self, attrs: NDArray[np.void], words: NDArray[np.uint32]) -> None:
        around, bpf, number = self._around, self._bpf, syscalls.BPF[os.uname().machine]
        first, size = attrs.ctypes.data, ATTR.itemsize
        beside, width = words.tobytes(), 4 * WORDS
        for at in range(len(attrs)):
            around[:width] = beside[at * width : at * width + width]
            if bpf(number, Command.PROG_TEST_RUN, first + at * size, size):
                raise OSError(ctypes.get_errno(), f"test run of packet {at}")

    def counted(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Give what rules (numbered from 1 in their chain) and policies (0) counted."""
        keys = self.compiled.counters
        counts = self.counts()[COUNTER_FIRST : COUNTER_FIRST + len(keys)].tolist()
        return {
            (key.chain, key.number): (packets, size)
            for key, (packets, size) in zip(keys, counts, strict=True)
        }

    def aborted(self) -> int:
        """Give how many packets could not be evaluated."""
        return int(self.counts()[COUNTER_ABORTED, 0])

    def counts(self) -> Ints:
        """Give packets and bytes of each counter."""
        raw = self.loaded.maps[COUNTERS_MAP].lookup(0)
        assert raw is not None
        cpus = self.kernel.possible_cpus()
        total = counters.sum_cpus(raw, self.compiled.counters_per_cpu, cpus)
        return np.frombuffer(total, np.int64).reshape(-1, 2)


@contextmanager
def loaded(kernel: LinuxKernel, compiled: Compiled, target: Target) -> Iterator[Runs]:
    with ExitStack() as stack:
        yield Runs(kernel, compiled, apply.load(kernel, stack, compiled, target))
