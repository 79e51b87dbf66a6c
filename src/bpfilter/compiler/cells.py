"""Rules as data: 16-byte cells that one fixed eBPF loop evaluates.

    byte  0      1      2        4        8        12
         ┌──────┬──────┬────────┬────────┬────────┬────────┐
         │ op   │ slot │ jump   │ mask   │ lo     │ hi     │   native byte order
         └──────┴──────┴────────┴────────┴────────┴────────┘

TEST cells ask `lo <= (word[slot] & mask) <= hi` and go on to the next cell or
`jump` cells ahead. A GUARD cell goes on for 0, jumps for 1, and drops the packet
for 2; a LATE_GUARD cell instead marks the packet in word `hi`, for a guard after the
rule's end. SEARCH cells ask whether the list with its first word at `slot` has a number
from `lo` to `hi` (search.py). A FIND cell looks up the chain's index whose descriptors are at
`hi` (index/layout.py), and goes to the first rule from order `lo` on that can match. Action
cells count the packet in counter `lo` and act; `hi` is the cell a JUMP or GOTO goes to. The
first cells are an ENTRY per hook: `lo` is where the base chain starts, `hi` its policy (where
RETURN from it, and from a chain it went to, ends up).

A rule is a boolean expression compiled to these jumps with short-circuit
evaluation, so its parts are asked in the order they were written and no further
than needed, as x_tables does.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from bpfilter.dataclass import dataclass
from bpfilter.errors import BuildError
from bpfilter.plan.fields import DOOMED, Field
from bpfilter.plan.nodes import U32, All, Any, Contains, Guard, Not, Predicate, Test

CELLS_MAP = "cells"
CELL = struct.Struct("=BBHIII")
CELL_BYTES = CELL.size
assert CELL_BYTES == 16


class Op(IntEnum):
    """What a cell does; the fixed loop compares in this order."""

    TEST_JUMP_IF = 0
    TEST_JUMP_UNLESS = 1
    GUARD = 2
    LATE_GUARD = 3
    CONTINUE = 4
    ACCEPT = 5
    DROP = 6
    JUMP = 7
    GOTO = 8
    RETURN = 9
    ENTRY = 10
    SEARCH_JUMP_IF = 11
    SEARCH_JUMP_UNLESS = 12
    FIND = 13


@dataclass(slots=True)
class Cell:
    """One cell while it is being written; `jump` is filled in once its target is known."""

    op: Op
    slot: int = 0
    jump: int = 0
    mask: int = 0
    lo: int = 0
    hi: int = 0

    def pack(self) -> bytes:
        return CELL.pack(self.op, self.slot, self.jump, self.mask, self.lo, self.hi)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field's word lies: index of the stack word and how far left it is shifted."""

    slot: int
    shift: int
    bits: int

    def test(self, test: Test) -> tuple[int, int, int]:
        """Give mask, lo and hi of a test, moved to where the field is packed."""
        mask = test.mask & (1 << self.bits) - 1
        low = test.lo & U32
        high = min(test.hi, (1 << self.bits) - 1)
        return mask << self.shift, low << self.shift, high << self.shift


class Assembler:
    """Write cells; labels are cell lists waiting for the index they jump to."""

    def __init__(self, places: dict[tuple[str, int], Place]) -> None:
        self.cells: list[Cell] = []
        #: The cells that came of tests, in the order they were written.
        self.tests: list[tuple[int, Test]] = []
        self._places = places

    @property
    def here(self) -> int:
        return len(self.cells)

    def add(self, cell: Cell) -> int:
        self.cells.append(cell)
        return len(self.cells) - 1

    def land(self, waiting: list[int]) -> None:
        """Point every waiting cell's jump at the next cell to be written."""
        for index in waiting:
            distance = self.here - index
            if not 0 < distance <= 0xFFFF:
                raise BuildError(f"a rule needs {distance} cells, the limit is 65535")
            self.cells[index].jump = distance
        waiting.clear()

    def jump_if(self, part: Predicate, sense: bool, there: list[int], fail: list[int]) -> None:
        """Write cells that jump to `there` when `part` is `sense`, and else fall through.

        `fail` collects the jumps of guards: the end of the whole rule.
        """
        match part:
            case Test():
                self._test(part, sense, there)
            case Contains(field, low, high):
                op = Op.SEARCH_JUMP_IF if sense else Op.SEARCH_JUMP_UNLESS
                slot = self._places[field.name, 0].slot
                there.append(self.add(Cell(op, slot, mask=U32, lo=low, hi=high)))
            case Guard(field, late):
                fail.append(self.guard(field, late))
                if sense:
                    self._always(there)
            case Not(inner):
                self.jump_if(inner, not sense, there, fail)
            case All(parts):
                self._series(parts, False, sense, there, fail)
            case Any(parts):
                self._series(parts, True, sense, there, fail)

    def guard(self, field: Field, late: bool = False) -> int:
        """Write a guard; its jump, for "this rule does not match", is the caller's to land."""
        place = self._places[field.name, 0]
        cell = Cell(Op.GUARD, place.slot, mask=3 << place.shift, lo=1 << place.shift)
        if late:
            cell.op = Op.LATE_GUARD
            cell.hi = self._places[DOOMED.name, 0].slot
        return self.add(cell)

    def _series(
        self,
        parts: tuple[Predicate, ...],
        decides: bool,
        sense: bool,
        there: list[int],
        fail: list[int],
    ) -> None:
        # A part that equals `decides` settles the whole: False for All, True for Any.
        if sense is decides:
            for part in parts:
                self.jump_if(part, decides, there, fail)
            return
        settled: list[int] = []
        for part in parts[:-1]:
            self.jump_if(part, decides, settled, fail)
        if parts:
            self.jump_if(parts[-1], sense, there, fail)
        else:
            self._always(there)
        self.land(settled)

    def _test(self, test: Test, sense: bool, there: list[int]) -> None:
        place = self._places[test.field.name, test.word]
        mask, low, high = place.test(test)
        if test.lo > test.hi or test.lo >= 1 << place.bits:
            # Nothing lies between the bounds: always false.
            if not sense:
                self._always(there)
            return
        op = Op.TEST_JUMP_IF if sense else Op.TEST_JUMP_UNLESS
        self.tests.append((self.here, test))
        there.append(self.add(Cell(op, place.slot, mask=mask, lo=low, hi=high)))

    def _always(self, there: list[int]) -> None:
        there.append(self.add(Cell(Op.TEST_JUMP_IF, hi=U32)))

    def pack(self) -> bytes:
        return b"".join([cell.pack() for cell in self.cells])
