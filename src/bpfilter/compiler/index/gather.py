"""Gathering the entries of a batch of tuples: no branches, and constants where there can be."""

from __future__ import annotations

from collections.abc import Sequence

from bpfilter.asm.alu import signed
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R6, R7, R10, Size
from bpfilter.compiler import frame
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.layout import (
    ENTRY_BYTES,
    ENTRY_CUT,
    FILTER_BITS,
    MULTIPLIERS,
    TABLE_BYTES,
    UPPER_AT,
    Tuple,
)
from bpfilter.compiler.index.search import INDEX_MAP, Search

_WORD = 0xFFFF_FFFF


def emit_gather(
    b: Builder, layout: Frame, search: Search, first: int, tuples: Sequence[Tuple]
) -> None:
    """Emit R6 = the set of those of some tuples whose entries are to be visited.

    R7 points at the tables of a chain, of which those in the set R3 are in use, `first` is the
    number of the first tuple. The entries are put on the stack. Clobbers R0-R2.
    """
    unused = b.fresh("unused")
    for number, each in enumerate(tuples):
        if number and not any(each.masks):
            # The last of all: often there is nothing but room for edits.
            b.mov(R1, R3)
            b.rsh(R1, number)
            b.jeq(R1, 0, unused)
        _hash(b, layout, search, each)
        table = (first + number) * TABLE_BYTES
        b.load(R1, R7, table + 4, Size.W)
        b.rsh(R0, R1)
        b.lsh(R0, ENTRY_BYTES.bit_length() - 1)
        b.load(R1, R7, table, Size.W)
        b.add(R0, R1)
        b.jgt(R0, search.size - ENTRY_BYTES, "drop_now")
        b.load_map_value(R1, INDEX_MAP)
        b.add(R1, R0)
        b.load(R0, R1, 0)
        b.store(R10, layout.offset(frame.ENTRIES + ENTRY_BYTES * number), R0)
        # R1 = 1 if the filter has the packet's value, or if the entry is a cut
        b.mov(R1, R0)
        b.load(R2, R10, layout.word_offset(search.keys[each.window_word]), Size.W)
        if each.window_shift:
            b.rsh(R2, each.window_shift)
        b.and_(R2, (1 << FILTER_BITS) - 1)
        b.add(R2, UPPER_AT)
        b.rsh(R1, R2)
        b.rsh(R0, ENTRY_CUT.bit_length() - 1)
        b.or_(R1, R0)
        b.and_(R1, 1)
        if number:
            b.lsh(R1, number)
            b.or_(R6, R1)
        else:
            b.mov(R6, R1)
    b.label(unused)


# R0 = Σ (word & mask) * multiplier
def _hash(b: Builder, layout: Frame, search: Search, each: Tuple) -> None:
    is_first = True
    for number, mask in enumerate(each.masks):
        if not mask:
            continue
        into = R0 if is_first else R1
        b.load(into, R10, layout.word_offset(search.keys[number]), Size.W)
        if mask != _WORD:
            b.and_(into, signed(mask, 32))
        b.imm64(R2, MULTIPLIERS[number])
        b.mul(into, R2)
        if not is_first:
            b.add(R0, R1)
        is_first = False
    if is_first:
        b.mov(R0, 0)
