"""From columns to rules, all of them: what `BulkTable.rule` makes, many at a time.

Parts that rows have in common are made once and shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.rules.columns import BulkTable
from bpfilter.rules.lexing import Places
from bpfilter.rules.model import Address, Chain, Counters, Jump, Rule, Table, Target
from bpfilter.rules.shapes import PORT_FIELDS, Shape, Slot, unquoted
from bpfilter.source import Span

_NO_COUNTERS = Counters()


def expand(table: BulkTable) -> Table:
    """Give the whole table, equal to what `parse_saved` reads."""
    texts = table.text.lines()
    rules = np.empty(len(table), object)
    for shape, rows in table.rows_by_shape():
        rules[rows] = expand_rows(table, shape, rows, texts)
    made = rules.tolist()
    starts = table.starts.tolist()
    return Table(
        table.name,
        tuple(
            Chain(
                chain.name,
                tuple(made[start:end]),
                chain.policy,
                chain.counters,
                chain.span,
                chain.declared,
            )
            for chain, start, end in zip(table.chains, starts[:-1], starts[1:], strict=True)
        ),
    )


def expand_rows(table: BulkTable, shape: Shape, rows: Places, texts: list[str]) -> list[Rule]:
    """Give the rules of rows of one shape; `texts` are all lines."""
    return list(_Rows(table, shape, rows, texts).rules())


class _Rows:
    """Rows of one shape; every method gives one value for each."""

    def __init__(self, table: BulkTable, shape: Shape, rows: Places, texts: list[str]) -> None:
        self.table = table
        self.shape = shape
        self.slots = shape.slots
        self.first = shape.rule
        self.rows = rows
        self.texts = texts

    def rules(self) -> Iterator[Rule]:
        first = self.first
        return map(
            Rule,
            self.addresses(Slot.SOURCE, first.source),
            self.addresses(Slot.DESTINATION, first.destination),
            repeat(first.in_interface),
            repeat(first.out_interface),
            repeat(first.protocol),
            repeat(first.fragment),
            self.matches(),
            self.targets(),
            self.counters(),
            self.spans(),
            repeat(first.any_protocol, len(self.rows)),
        )

    def addresses(self, slot: Slot, first: Address | None) -> Iterable[Address | None]:
        if slot not in self.slots:
            return repeat(first)
        assert first is not None
        values = packed(getattr(self.table, slot)[self.rows])
        masks = packed(getattr(self.table, f"{slot}_mask")[self.rows])
        return map(Address, values, _shared(masks), repeat(first.inverted))

    def matches(self) -> Iterable[tuple[Any, ...]]:
        if self.slots.isdisjoint((Slot.SPORTS, Slot.DPORTS, Slot.COMMENT)):
            return repeat(self.first.matches)
        return zip(*(self.match(match) for match in self.first.matches), strict=False)

    def match(self, match: Any) -> Iterable[Any]:
        if match.NAME == "comment" and Slot.COMMENT in self.slots:
            return map(type(match), self.comments())
        slots = {
            slot: name
            for slot, name in PORT_FIELDS.get(match.NAME, {}).items()
            if slot in self.slots
        }
        return self.ports(match, slots) if slots else repeat(match)

    # A match is made once for all rows with the same ports.
    def ports(self, match: Any, slots: dict[Slot, str]) -> Iterable[Any]:
        columns = [getattr(self.table, slot)[self.rows].astype(np.uint64) for slot in slots]
        packed = np.zeros(len(self.rows), np.uint64)
        for column in columns:
            packed = packed << np.uint64(32) | column[:, 0] << np.uint64(16) | column[:, 1]
        _, firsts, inverse = np.unique(packed, return_index=True, return_inverse=True)
        arguments: dict[str, Iterable[Any]] = {
            name: repeat(getattr(match, name)) for name in match.__match_args__
        }
        for name, column in zip(slots.values(), columns, strict=True):
            arguments[name] = _ranges(getattr(match, name), column[firsts])
        made = list(map(type(match), *arguments.values()))
        return map(made.__getitem__, inverse.tolist())

    def comments(self) -> Iterator[str]:
        decode = self.table.text.decode
        places = self.table.comment[self.rows]
        return map(unquoted, map(decode, places[:, 0].tolist(), places[:, 1].tolist()))

    def targets(self) -> Iterable[Target | None]:
        target = self.first.target
        if Slot.TARGET not in self.slots:
            return repeat(target)
        assert isinstance(target, Jump)
        jumps = self.table.jump[self.rows].tolist()
        made = {chain: Jump(self.table.names[chain], target.goto) for chain in set(jumps)}
        return map(made.__getitem__, jumps)

    def counters(self) -> Iterable[Counters]:
        counters = self.table.counters[self.rows]
        if not counters.any():
            return repeat(_NO_COUNTERS)
        return map(Counters, counters[:, 0].tolist(), counters[:, 1].tolist())

    def spans(self) -> Iterable[Span | None]:
        first = self.first.span
        if first is None:
            return repeat(None)
        numbers = self.table.line[self.rows].tolist()
        texts = [self.texts[number - 1] for number in numbers]
        left_out = len(first.text) - first.end
        ends = [len(text) - left_out for text in texts]
        columns: Iterable[int] = repeat(first.column)
        if first.column > 1:
            behind = first.column - first.text.index("]")
            columns = [text.index("]") + behind for text in texts]
        return map(Span, repeat(first.name), numbers, columns, ends, texts)


def packed(words: NDArray[np.uint32]) -> list[bytes]:
    """Give rows of words in host order as bytes in network order."""
    width = 4 * words.shape[1]
    whole = words.astype(">u4").tobytes()
    return [whole[at : at + width] for at in range(0, len(whole), width)]


def _shared(values: list[bytes]) -> Iterable[bytes]:
    known: dict[bytes, bytes] = {}
    return map(known.setdefault, values, values)


def _ranges(first: Any, ends: NDArray[np.uint64]) -> Iterable[Any]:
    low, high = ends[:, 0].tolist(), ends[:, 1].tolist()
    if isinstance(first, tuple):
        return zip(low, high, strict=True)
    return map(type(first), low, high, repeat(first.inverted))
