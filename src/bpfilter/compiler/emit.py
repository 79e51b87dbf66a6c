"""Cells and asked fields → programs and maps: one program per hook, shared maps.

A program reads the packet (prologue), enters the loop at its hook's base chain, and
returns the verdict. Its size depends on which fields the rules test, never on how
many rules there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R6, R7, R10, Insn, Size
from bpfilter.compiler import frame
from bpfilter.compiler.cells import Cell
from bpfilter.compiler.counters import COUNTER_ABORTED, COUNTER_BYTES, COUNTERS_MAP
from bpfilter.compiler.extract import extract
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.search import Search
from bpfilter.compiler.loop import (
    NF_DROP,
    Bounds,
    emit_loop,
)
from bpfilter.compiler.prologue import Prologue
from bpfilter.compiler.straight import emit_straight
from bpfilter.compiler.target import Target
from bpfilter.rules.model import Family, Hook

# struct bpf_nf_ctx (include/net/netfilter/nf_bpf_link.h)
CTX_STATE = 0
CTX_SKB = 8


def emit_program(
    hook: Hook,
    family: Family,
    layout: Frame,
    wanted: frozenset[tuple[str, int]],
    target: Target,
    *,
    cells: int,
    counters: int,
    search: Search | None = None,
    straight: Sequence[Cell] = (),
    override: Callable[[Prologue], None] | None = None,
) -> tuple[Insn, ...]:
    """Emit the program of one hook; `cells` and `counters` (of one CPU) size the maps.

    Cells given as `straight` become code, else the loop evaluates those in the map.

    `override` may emit stores to packet words after they are read: what bench/ measures are
    many packets, where a test run has one.
    """
    b = Builder(f"{family.command} {hook.name}")
    p = Prologue(b, target, layout, family, hook, wanted)
    b.load(R6, R1, CTX_SKB)
    b.load(R7, R1, CTX_STATE)
    p.clear_words()
    p.load_member(R1, R6, "sk_buff", "len")
    b.store(R10, layout.offset(frame.BYTES), R1)
    b.call(Helper.GET_SMP_PROCESSOR_ID)
    b.jgt(R0, target.cpus - 1, "drop")
    b.mul(R0, counters)
    b.store(R10, layout.offset(frame.COUNTERS), R0, Size.W)
    if wanted:
        extract(p)
    if override:
        override(p)
    if straight:
        emit_straight(p, straight, counters)
    else:
        bounds = Bounds(max(len(set(layout.slots.values())), 1), cells, counters * target.cpus)
        emit_loop(b, layout, bounds, p.steps, search, hook, "unreadable")
    if wanted or not straight:
        b.label("unreadable")
        _count_aborted(p, counters * target.cpus)
    b.label("drop")
    b.mov(R0, NF_DROP)
    b.exit()
    return b.build()


def _count_aborted(p: Prologue, counters: int) -> None:
    b = p.b
    b.load(R2, R10, p.frame.offset(frame.COUNTERS), Size.W)
    b.add(R2, COUNTER_ABORTED)
    b.jgt(R2, counters - 1, "drop")
    b.lsh(R2, COUNTER_BYTES.bit_length() - 1)
    b.load_map_value(R1, COUNTERS_MAP)
    b.add(R1, R2)
    b.mov(R0, 1)
    b.atomic_add(R1, 0, R0)
    b.load(R0, R10, p.frame.offset(frame.BYTES))
    b.atomic_add(R1, 8, R0)
