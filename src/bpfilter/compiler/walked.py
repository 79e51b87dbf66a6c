"""Edit rules that are walked, one after the other: those without an index, or in front of one.

A rule's cells do their work wherever they lie. What comes is written behind all other cells,
together with what it stands before; what goes stays, and is passed by. *Links* lead there and
back: GOTO cells that count nothing. So each rule is met in its order, and packets take two
steps more for an edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bpfilter.compiler.cells import CELL, CELL_BYTES, Cell, Op
from bpfilter.compiler.counters import COUNTER_NONE
from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Hook

_TESTS = {
    Op.TEST_JUMP_IF,
    Op.TEST_JUMP_UNLESS,
    Op.GUARD,
    Op.LATE_GUARD,
    Op.SEARCH_JUMP_IF,
    Op.SEARCH_JUMP_UNLESS,
}
#: What comes behind the cell that counts, where there are late guards: a guard, what to do, and
#: a guard (shapes.py).
_BEHIND_LATE = 3


@dataclass(frozen=True, slots=True)
class Walked:
    """A rule on the way: its counter, its first cell, the one behind its last."""

    counter: int
    start: int
    end: int


class WalkedCells:
    """The cells of a table in `memory`: of `most`, the first `used` are in use.

    Counters from `first_counter` on are those of rules; `doomed` is the word in which late
    guards mark a packet, if there are any.
    """

    def __init__(
        self, memory: memoryview, used: int, most: int, first_counter: int, doomed: int | None
    ) -> None:
        self.memory = memory
        self.used = used
        self.most = most
        self.first_counter = first_counter
        self.doomed = doomed

    def append(self, cells: Sequence[Cell]) -> int | None:
        """Write cells behind all others; give where, None if there is no room."""
        start = self.used
        if start + len(cells) > self.most:
            return None
        self.used += len(cells)
        for place, cell in enumerate(cells, start):
            self._write(place, cell)
        return start

    def behind(self, start: int, after: int | None) -> int | None:
        """Give where the way from a chain's start goes on behind the rule with a counter, or
        begins; None if it does not come by that rule."""
        if after is None:
            return start
        return next((rule.end for rule in self._rules(start) if rule.counter == after), None)

    def finds(self, place: int) -> bool:
        """Whether the way goes on with an index."""
        return self._read(self._followed(place)).op == Op.FIND

    def insert(self, place: int, rule: Sequence[Cell]) -> bool:
        """Put a rule's cells on the way that goes on at a place; False if there is no room."""
        moved, to = [], self._followed(place)
        if to == place:
            passed = self._rule(place)
            end = passed.end if passed else place + 1
            moved = [self._read(each) for each in range(place, end)]
            to = self._followed(end) if passed else place
        goes_on = [] if self._is_end(place) else [_link(to)]
        start = self.append([*rule, *moved, *goes_on])
        if start is None:
            return False
        self._move_policy(place, start + len(rule))
        self._write(place, _link(start))
        return True

    def remove(self, start: int, counter: int) -> bool:
        """Have the way from a chain's start pass by a rule; False if it does not come there."""
        for rule in self._rules(start):
            if rule.counter == counter:
                self._write(rule.start, _link(self._followed(rule.end)))
                return True
        return False

    def _rules(self, start: int) -> Iterator[Walked]:
        rule = self._rule(self._followed(start))
        while rule is not None:
            yield rule
            rule = self._rule(self._followed(rule.end))

    # The rule whose cells begin at a place; None where a chain ends, or its index begins.
    def _rule(self, place: int) -> Walked | None:
        if self._is_end(place):
            return None
        at = place
        while (cell := self._read(at)).op in _TESTS:
            at += 1
        end = at + 1
        behind = self._read(end)
        if cell.op == Op.CONTINUE and (behind.op, behind.slot) == (Op.GUARD, self.doomed):
            end += _BEHIND_LATE
        return Walked(cell.lo, place, end)

    def _is_end(self, place: int) -> bool:
        cell = self._read(place)
        return cell.op == Op.FIND or (
            cell.op in (Op.ACCEPT, Op.DROP, Op.RETURN) and cell.lo < self.first_counter
        )

    def _followed(self, place: int) -> int:
        while (cell := self._read(place)) == _link(cell.hi):
            place = cell.hi
        return place

    # Where a base chain's policy has moved, RETURN finds it.
    def _move_policy(self, place: int, to: int) -> None:
        for hook in Hook:
            cell = self._read(hook)
            if cell.op == Op.ENTRY and cell.hi == place:
                cell.hi = to
                self._write(hook, cell)

    def _read(self, place: int) -> Cell:
        op, *others = CELL.unpack_from(self.memory, place * CELL_BYTES)
        return Cell(Op(op), *others)

    def _write(self, place: int, cell: Cell) -> None:
        self.memory[place * CELL_BYTES : (place + 1) * CELL_BYTES] = cell.pack()


def _link(to: int) -> Cell:
    return Cell(Op.GOTO, lo=COUNTER_NONE, hi=to)
