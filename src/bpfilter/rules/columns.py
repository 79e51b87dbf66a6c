"""Large tables as columns: an array for each thing that differs from rule to rule.

A row is a rule: its shape (`shapes.py`) says what it has in common with others, columns
hold what differs. Nothing here is a Python object for each rule until one is asked for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bpfilter.dataclass import dataclass, fields, replace
from bpfilter.rules.model import Chain, Counters, Family, Rule, Table
from bpfilter.rules.shapes import Shape, Slot, unquoted, with_values
from bpfilter.source import Span


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """What was read, and where its lines end: line n before the newline `ends[n - 1]`."""

    name: str
    data: bytes
    ends: NDArray[np.int64]

    def line(self, number: int) -> str:
        start = int(self.ends[number - 2]) + 1 if number > 1 else 0
        return self.decode(start, int(self.ends[number - 1]))

    def lines(self) -> list[str]:
        return self.decode(0, int(self.ends[-1])).split("\n")

    def decode(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", "surrogateescape")


@dataclass(slots=True, eq=False, kw_only=True)
class Columns:
    """Values of n rows; those of a slot that a row's shape does not have are 0."""

    family: Family
    text: Text
    #: Names of the chains, by index.
    names: list[str]
    #: [n, W] words in host order, the most significant first; W is 1 for IPv4, 4 for IPv6.
    source: NDArray[np.uint32]
    source_mask: NDArray[np.uint32]
    destination: NDArray[np.uint32]
    destination_mask: NDArray[np.uint32]
    #: [n, 2], both ends inclusive.
    sports: NDArray[np.uint16]
    dports: NDArray[np.uint16]
    #: Index of the chain the rule is in, with a slot or without.
    chain: NDArray[np.int32]
    #: Index of the chain jumped to, with a slot or without; -1 if there is no jump.
    jump: NDArray[np.int32]
    #: Line numbers, from 1.
    line: NDArray[np.int32]
    #: [n, 2]: packets, bytes.
    counters: NDArray[np.uint64]
    #: [n, 2]: where the comment's bytes start and end, quotes and backslashes included.
    comment: NDArray[np.int64]

    @classmethod
    def empty(cls, family: Family, text: Text, names: Iterable[str], rows: int) -> Self:
        words = family.address_bytes // 4
        return cls(
            family=family,
            text=text,
            names=list(names),
            source=np.zeros((rows, words), np.uint32),
            source_mask=np.zeros((rows, words), np.uint32),
            destination=np.zeros((rows, words), np.uint32),
            destination_mask=np.zeros((rows, words), np.uint32),
            sports=np.zeros((rows, 2), np.uint16),
            dports=np.zeros((rows, 2), np.uint16),
            chain=np.zeros(rows, np.int32),
            jump=np.full(rows, -1, np.int32),
            line=np.zeros(rows, np.int32),
            counters=np.zeros((rows, 2), np.uint64),
            comment=np.zeros((rows, 2), np.int64),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        named = {each.name: getattr(self, each.name) for each in fields(Columns)}
        return {name: array for name, array in named.items() if isinstance(array, np.ndarray)}

    def value(self, row: int, slot: Slot) -> Any:
        """Give what a slot holds, as `shapes.value_of` gives it of the row's rule."""
        if slot is Slot.SOURCE:
            return _packed(self.source[row]), _packed(self.source_mask[row])
        if slot is Slot.DESTINATION:
            return _packed(self.destination[row]), _packed(self.destination_mask[row])
        if slot is Slot.SPORTS:
            return int(self.sports[row, 0]), int(self.sports[row, 1])
        if slot is Slot.DPORTS:
            return int(self.dports[row, 0]), int(self.dports[row, 1])
        if slot is Slot.CHAIN:
            return self.names[self.chain[row]]
        if slot is Slot.TARGET:
            return self.names[self.jump[row]]
        return unquoted(self.text.decode(*self.comment[row].tolist()))


@dataclass(slots=True, eq=False, kw_only=True)
class BulkTable(Columns):
    """A table of n rules; rows of a chain lie together, in the order of its rules."""

    name: str
    #: As TableDraft.table() orders them. Their `rules` are those of the shapes they use, in
    #: the order of first use, whatever those rules have in their slots.
    chains: tuple[Chain, ...]
    shapes: list[Shape]
    #: Indexes of `shapes`.
    shape: NDArray[np.int32]
    #: [chains + 1]: the rows of chain c are `starts[c]:starts[c + 1]`.
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shape)

    @property
    def undeclared(self) -> frozenset[str]:
        """Base chains without a line that declares their policy."""
        return frozenset(chain.name for chain in self.chains if not chain.declared)

    def rows_by_shape(self) -> Iterator[tuple[Shape, NDArray[np.int64]]]:
        """Give each shape with its rows, ascending."""
        order = np.argsort(self.shape, kind="stable")
        starts = np.searchsorted(self.shape[order], np.arange(len(self.shapes) + 1)).tolist()
        for number, shape in enumerate(self.shapes):
            yield shape, order[starts[number] : starts[number + 1]]

    def rule(self, row: int) -> Rule:
        """Give a row's rule, equal to what RuleParser makes of its line."""
        shape = self.shapes[self.shape[row]]
        values = {slot: self.value(row, slot) for slot in shape.slots}
        counters = Counters(*self.counters[row].tolist())
        rule = with_values(shape.rule, values)
        return replace(rule, counters=counters, span=self._span(row, shape.rule.span))

    def table(self) -> Table:
        """Give the whole table, equal to what `parse_saved` makes of the text."""
        from bpfilter.rules.expand import expand

        with uncollected():
            return expand(self)

    # Counters in front are as long as they are; the quick reader counts them in.
    def _span(self, row: int, first: Span | None) -> Span | None:
        if first is None:
            return None
        line = self.text.line(int(self.line[row]))
        column = first.column
        if column > 1:
            column += line.index("]") - first.text.index("]")
        end = first.end + len(line) - len(first.text)
        return Span(first.name, int(self.line[row]), column, end, line)


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects without a look for circles of them, which is a third of the time.

    Nor is it made up for afterwards: the objects count as old ones.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        gc.enable()


def _packed(words: NDArray[np.uint32]) -> bytes:
    return words.astype(">u4").tobytes()
