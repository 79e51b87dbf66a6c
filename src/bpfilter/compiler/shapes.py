"""A shape of rules as cells with gaps, and as what an index may know of it.

All rules of a shape make the same tests in the same order; what differs is filled in, column
by column (bulk.py). A part of the condition is *seen* if it can enter the index: an exact
test of a word, a range of ports. It is *checked* if a record asks all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfilter.compiler.cells import Assembler, Cell, Op, Place
from bpfilter.compiler.counters import COUNTER_NONE
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.header import condition
from bpfilter.compiler.index.layout import KeyWords
from bpfilter.compiler.lower import asked_words
from bpfilter.compiler.views import guard_state
from bpfilter.dataclass import dataclass
from bpfilter.errors import RefusedError
from bpfilter.plan import fields
from bpfilter.plan.fields import DOOMED
from bpfilter.plan.nodes import All, Any, Contains, Guard, Not, Predicate, Test
from bpfilter.rules.model import Family, Jump, Verdict
from bpfilter.rules.shapes import Shape, Slot

_PORTS = {Slot.SPORTS: fields.SPORT, Slot.DPORTS: fields.DPORT}


@dataclass(frozen=True, slots=True)
class Parts:
    """A shape's condition, flat; `slots` names the column a test takes its bounds from."""

    shape: Shape
    parts: tuple[Predicate, ...]
    slots: dict[int, Slot]  # by id() of the Test
    #: Packet words asked for: (field name, word).
    words: frozenset[tuple[str, int]]

    def slot(self, test: Test) -> Slot | None:
        return self.slots.get(id(test))

    @property
    def is_terminal(self) -> bool:
        target = self.shape.rule.target
        return isinstance(target, Verdict) or (isinstance(target, Jump) and target.goto)


def split(shape: Shape, family: Family) -> Parts:
    """Take a shape's condition apart.

    Raises: RefusedError if it cannot be enforced, or if a column has no place in it.
    """
    asked = condition(shape.rule, family)
    slots: dict[int, Slot] = {}
    parts = list(asked.parts) if isinstance(asked, All) else [asked]
    at = 0
    for slot, address in (
        (Slot.SOURCE, shape.rule.source),
        (Slot.DESTINATION, shape.rule.destination),
    ):
        if address is not None and (any(address.mask) or address.inverted):
            if slot in shape.slots:
                slots |= {id(test): slot for test in _tests(parts[at])}
            at += 1
    for slot, field in _PORTS.items():
        if slot in shape.slots:
            found = [test for test in _tests(asked) if test.field is field]
            if len(found) != 1:
                raise RefusedError(f"the {field} of this rule are tested more than once")
            slots[id(found[0])] = slot
    return Parts(shape, tuple(_flat(asked)), slots, asked_words(asked))


def _flat(part: Predicate) -> Iterator[Predicate]:
    if isinstance(part, All):
        for inner in part.parts:
            yield from _flat(inner)
    else:
        yield part


def _tests(part: Predicate) -> Iterator[Test]:
    match part:
        case Test():
            yield part
        case Not(inner):
            yield from _tests(inner)
        case All(parts) | Any(parts):
            for inner in parts:
                yield from _tests(inner)


def _has_guard(part: Predicate) -> bool:
    match part:
        case Guard():
            return True
        case Not(inner):
            return _has_guard(inner)
        case All(parts) | Any(parts):
            return any(_has_guard(inner) for inner in parts)
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Recorded:
    """The words that are hashed, and those of them that records compare: slots of a frame."""

    keys: tuple[int, ...]
    compared: tuple[int, ...]
    places: dict[tuple[str, int], Place]

    def words(self) -> KeyWords:
        """Say of them what an index knows."""
        numbers = {slot: number for number, slot in enumerate(self.keys)}
        ports = self.places.get((fields.SPORT.name, 0)) or self.places.get((fields.DPORT.name, 0))
        return KeyWords(
            len(numbers),
            tuple(numbers[slot] for slot in self.compared),
            numbers.get(ports.slot) if ports else None,
            self.keys,
        )

    def place(self, test: Test) -> Place:
        return self.places[test.field.name, test.word]

    def is_exact(self, test: Test) -> bool:
        bits = test.mask & (1 << self.place(test).bits) - 1
        return test.lo == test.hi and not test.lo & ~bits

    def sees(self, test: Test) -> bool:
        """Say whether a test helps to find its rule."""
        return self.checks(test) or (self.is_exact(test) and self.place(test).slot in self.keys)

    def checks(self, test: Test) -> bool:
        """Say whether a record can ask all of a test."""
        if test.field in (fields.SPORT, fields.DPORT):
            return test.mask & 0xFFFF == 0xFFFF and test.lo <= test.hi <= 0xFFFF
        if test.field is fields.PROTO:
            return self.is_exact(test) and test.mask & 0xFF == 0xFF and 0 < test.lo <= 0xFF
        return self.is_exact(test) and self.place(test).slot in self.compared


@dataclass(frozen=True, slots=True)
class Box:
    """What the index knows of a shape in one view: the tests it sees, and if they are all.

    In a view whose packets a guard of the shape drops, `dooms`: what the box holds is what
    stands left of the guard, and a packet that meets it is to be dropped.
    """

    seen: tuple[Test, ...]
    whole: bool
    dooms: bool = False


def box(parts: Parts, view: int, family: Family, recorded: Recorded) -> Box | None:
    """Give a shape's box in a view; None if its rules match no packet there."""
    seen: dict[str | int, Test] = {}
    whole = True
    for part in parts.parts:
        if isinstance(part, Test):
            if recorded.sees(part):
                # A second test of the same word is left to the cells.
                name = part.field.name if part.field.words == 1 else recorded.place(part).slot
                whole &= seen.setdefault(name, part) is part and recorded.checks(part)
            else:
                whole = False
        elif isinstance(part, Guard):
            state = None if part.late else guard_state(view, part.field, family)
            if state == 0:
                continue
            if state == 1:
                return None
            if state is None:
                return Box(tuple(seen.values()), False)
            return Box(tuple(seen.values()), whole, dooms=True)
        elif isinstance(part, Contains) or not _has_guard(part):
            whole = False
        else:
            return Box(tuple(seen.values()), False)
    return Box(tuple(seen.values()), whole)


@dataclass(frozen=True, slots=True)
class Pattern:
    """The cells of a shape; jumps out of it go just behind its last cell.

    `tests` are the cells whose bounds a column fills in. The packet is counted at `counts`,
    and acted upon at `acts`. Behind `skip` cells the record has not checked everything, in
    the view of packets with no guard; behind `skip_to_guard` in the others.
    """

    cells: tuple[Cell, ...]
    tests: tuple[tuple[int, Test], ...]
    counts: int
    acts: int
    skip: int
    skip_to_guard: int


def pattern(parts: Parts, frame: Frame, family: Family, recorded: Recorded | None) -> Pattern:
    """Write a shape's cells, as lower.py writes one rule's."""
    assembler = Assembler(frame.places)
    fail: list[int] = []
    starts: list[int] = []
    for part in parts.parts:
        starts.append(assembler.here)
        assembler.jump_if(part, False, fail, fail)
    starts.append(assembler.here)
    counts = acts = assembler.here
    if (DOOMED.name, 0) in parts.words:
        assembler.add(Cell(Op.CONTINUE))
        assembler.land([assembler.guard(DOOMED)])
        acts = assembler.add(_action(parts, COUNTER_NONE))
        assembler.land(fail)
        assembler.land([assembler.guard(DOOMED)])
    else:
        assembler.add(_action(parts, 0))
        assembler.land(fail)
    skips = (0, 0) if recorded is None else _skips(parts, family, recorded)
    return Pattern(
        tuple(assembler.cells),
        tuple((index, test) for index, test in assembler.tests if parts.slot(test)),
        counts,
        acts,
        starts[skips[0]],
        starts[skips[1]],
    )


def _action(parts: Parts, counter: int) -> Cell:
    target = parts.shape.rule.target
    if target is None:
        return Cell(Op.CONTINUE, lo=counter)
    if isinstance(target, Jump):
        return Cell(Op.GOTO if target.goto else Op.JUMP, lo=counter)
    assert isinstance(target, Verdict)
    return Cell(Op[target.name], lo=counter)


# How many leading parts a record has checked: past guards, and up to the first one.
def _skips(parts: Parts, family: Family, recorded: Recorded) -> tuple[int, int]:
    checked = to_guard = 0
    seen: set[str | int] = set()
    guarded = False
    for part in parts.parts:
        if isinstance(part, Guard) and not part.late:
            if guard_state(0, part.field, family) is None:
                break
            guarded = True
        elif isinstance(part, Test) and recorded.checks(part):
            name = part.field.name if part.field.words == 1 else recorded.place(part).slot
            if name in seen:
                break
            seen.add(name)
        else:
            break
        checked += 1
        to_guard += not guarded
    return checked, to_guard
