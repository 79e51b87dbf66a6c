"""Counting a packet: the counters of the CPU it is on go up."""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R3, R4, R10, Size
from bpfilter.compiler import frame
from bpfilter.compiler.counters import COUNTER_BYTES, COUNTERS_MAP
from bpfilter.compiler.frame import Frame


def emit_count(b: Builder, layout: Frame, counters: int) -> None:
    """Count the packet in counter R3 of this CPU; `counters` are those of all CPUs.

    Atomically, since a softirq can interrupt a process's packet on the same CPU.
    Clobbers R0, R3 and R4; a counter out of bounds ends at `drop_now`.
    """
    b.load(R4, R10, layout.offset(frame.COUNTERS), Size.W)
    b.add(R3, R4)
    b.jgt(R3, counters - 1, "drop_now")
    b.lsh(R3, COUNTER_BYTES.bit_length() - 1)
    b.load_map_value(R4, COUNTERS_MAP)
    b.add(R4, R3)
    b.mov(R0, 1)
    b.atomic_add(R4, 0, R0)
    b.load(R0, R10, layout.offset(frame.BYTES))
    b.atomic_add(R4, 8, R0)
