"""Cells as text: what golden files compare and `bpfilter compile` prints.

5  jump unless saddr & 0xff000000 in 0x0a000000           -> 8
6  jump unless dport in 22..80                            -> 8
7  accept                                                 INPUT 1
"""

from __future__ import annotations

from collections.abc import Sequence

from bpfilter.compiler.cells import Cell, Op, Place
from bpfilter.compiler.counters import COUNTER_ABORTED, COUNTER_FIRST, COUNTER_NONE
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.lower import CounterKey
from bpfilter.plan.fields import FIELDS
from bpfilter.plan.nodes import U32
from bpfilter.rules.model import Hook

_WORDS = {
    Op.TEST_JUMP_IF: "jump if",
    Op.TEST_JUMP_UNLESS: "jump unless",
    Op.GUARD: "guard",
    Op.LATE_GUARD: "late guard",
    Op.SEARCH_JUMP_IF: "jump if any of",
    Op.SEARCH_JUMP_UNLESS: "jump unless any of",
}


def show_cells(cells: Sequence[Cell], layout: Frame, counters: Sequence[CounterKey]) -> str:
    """Give one line per cell: index, what it does, and where it may go or what it counts."""
    lines = []
    for index, cell in enumerate(cells):
        what, where = _describe(index, cell, layout, counters)
        lines.append(f"{index:5}  {what:<58} {where}".rstrip())
    return "".join(f"{line}\n" for line in lines)


def _describe(
    index: int, cell: Cell, layout: Frame, counters: Sequence[CounterKey]
) -> tuple[str, str]:
    if cell.op is Op.ENTRY:
        hook = Hook(index).name
        return (f"entry {hook} at {cell.lo}, policy at {cell.hi}" if cell.hi else "entry"), ""
    if cell.op in _WORDS:
        field = _field(cell, layout)
        if cell.op in (Op.GUARD, Op.LATE_GUARD):
            return f"{_WORDS[cell.op]} {field}", f"-> {index + cell.jump}"
        if cell.mask == 0:
            return "jump", f"-> {index + cell.jump}"
        return f"{_WORDS[cell.op]} {field}", f"-> {index + cell.jump}"
    goes = f" {cell.hi}" if cell.op in (Op.JUMP, Op.GOTO) else ""
    return cell.op.name.lower() + goes, _counter(cell.lo, counters)


def _field(cell: Cell, layout: Frame) -> str:
    name, place = _owner(cell, layout)
    if cell.op in (Op.GUARD, Op.LATE_GUARD):
        return name
    mask, low, high = (value >> place.shift for value in (cell.mask, cell.lo, cell.hi))
    whole = (1 << place.bits) - 1
    masked = "" if mask == whole else f" & {mask:#x}"
    if low == high:
        return f"{name}{masked} is {_number(low)}"
    return f"{name}{masked} in {_number(low)}..{_number(min(high, whole))}"


def _owner(cell: Cell, layout: Frame) -> tuple[str, Place]:
    # Several fields may share a word; the tightest one around the mask is meant.
    candidates = [
        (place.bits, name, word, place)
        for (name, word), place in layout.places.items()
        if place.slot == cell.slot
        and cell.mask & ~(((1 << place.bits) - 1) << place.shift) & U32 == 0
    ]
    _, name, word, place = min(candidates)
    return (f"{name}[{word}]" if FIELDS[name].words > 1 else name), place


def _number(value: int) -> str:
    return str(value) if value < 1 << 16 else f"{value:#010x}"


def _counter(index: int, counters: Sequence[CounterKey]) -> str:
    if index in (COUNTER_NONE, COUNTER_ABORTED):
        return ""
    key = counters[index - COUNTER_FIRST]
    return f"{key.chain} {key.number}" if key.number else f"{key.chain} policy"
