"""The rules of one table: from lines to columns.

What a line says is known from its key (`keys.py`) once a line with that key has been
read by RuleParser. That the values were cut out of the right places is not taken for
granted: the first rule of every key must have them where the columns say, and a few
others are read both ways and compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules.columns import BulkTable, Columns, Text
from bpfilter.rules.cutting import Cutter
from bpfilter.rules.edit import TableDraft
from bpfilter.rules.keys import Keys, has_counters, slots_in
from bpfilter.rules.lexing import Places
from bpfilter.rules.model import TABLES, Jump, Rule
from bpfilter.rules.reach import is_sound
from bpfilter.rules.registry import REGISTRY
from bpfilter.rules.saved import SavedReader
from bpfilter.rules.shapes import Shape, Slot, value_of

#: Lines cut at a time, which bounds the memory it takes.
_BLOCK_LINES = 1 << 18


def give_up(reason: str) -> NoReturn:
    """Leave the whole text to the ordinary reader. Raises: RuleSyntaxError."""
    raise RuleSyntaxError(reason)


class Section:
    """The rules of the table that is open, which are the lines with these indexes."""

    def __init__(self, saved: SavedReader, text: Text, starts: Places, lines: Places) -> None:
        assert saved.draft is not None
        self.saved = saved
        self.draft = draft = saved.draft
        self.text = text
        self.starts, self.stops = starts[lines], text.ends[lines]
        self.columns = Columns.empty(draft.family, text, draft.chains, len(lines))
        self.columns.line[:] = lines + 1
        self.shape = np.zeros(len(lines), np.int32)
        self.shapes: list[Shape] = []
        #: Keys to indexes of shapes; ~i if slots of the key, `misread[i]`, are none.
        self.known: dict[bytes, int] = {}
        self.misread: list[frozenset[Slot]] = []
        self.counted: list[bool] = []

    def table(self) -> BulkTable:
        """Read them, and finish the table. Raises: SourceError for a fault, or to give up."""
        if len(self.shape):
            self._read()
            self._number_anew()
            self._fill()
        made = self._sorted()
        if not is_sound(made) or not all(self._agrees(made, row) for row in _samples(made)):
            give_up("not as read line by line")
        return made

    def _read(self) -> None:
        cutter = Cutter(self.columns, _targets(self.draft))
        for first in range(0, len(self.shape), _BLOCK_LINES):
            block = slice(first, first + _BLOCK_LINES)
            keys = cutter.cut(first, self.starts[block], self.stops[block])
            shape = self.shape[block]
            for rows in keys.alike():
                number = self._number(keys, int(rows[0]), first)
                if number >= 0:
                    shape[rows] = number
                else:
                    for row in rows.tolist():
                        shape[row] = self._restored(keys, row, first)

    # The number in `known` of a row's key, but for slots of these.
    def _number(
        self, keys: Keys, row: int, first: int, without: frozenset[Slot] = frozenset()
    ) -> int:
        key = keys.key(row, without)
        known = self.known.get(key)
        return self._new(key, first + row) if known is None else known

    # The shape of a row whose slots are not all slots: the values of those stay in its key.
    def _restored(self, keys: Keys, row: int, first: int) -> int:
        without: frozenset[Slot] = frozenset()
        while (number := self._number(keys, row, first, without)) < 0:
            without |= self.misread[~number]
        return number

    # Reads a row with a new key; gives its number in `known`.
    def _new(self, key: bytes, row: int) -> int:
        chain, rule = self._rule(int(self.columns.line[row]))
        self.draft.chain(chain)
        slots = slots_in(key)
        misread = frozenset(
            slot
            for slot in slots
            if self.columns.value(row, slot)
            != (chain if slot is Slot.CHAIN else value_of(rule, slot))
        )
        if misread:
            self.misread.append(misread)
            self.known[key] = ~(len(self.misread) - 1)
        else:
            self.known[key] = len(self.shapes)
            self.shapes.append(Shape(rule, chain, slots))
            self.counted.append(has_counters(key))
        return self.known[key]

    def _rule(self, number: int) -> tuple[str, Rule]:
        command = self.saved.command(self.text.line(number), number)
        if command is None or command.letter != "A" or len(command.rules) != 1:
            give_up("not one rule to append")
        (rule,) = command.rules
        if isinstance(rule.target, Jump) and rule.target.chain in TABLES[self.draft.name]:
            give_up("a jump to a built-in chain")
        return command.chain, rule

    # Shapes are numbered in the order of their first rows.
    def _number_anew(self) -> None:
        _, firsts = np.unique(self.shape, return_index=True)
        order = np.argsort(firsts)
        self.shapes = [self.shapes[number] for number in order]
        self.counted = [self.counted[number] for number in order]
        self.shape = np.argsort(order).astype(np.int32)[self.shape]

    # What the rows of a shape have in common goes into the columns, and slots they lack out.
    def _fill(self) -> None:
        columns = self.columns
        index = {name: at for at, name in enumerate(columns.names)}
        chains = np.array([index[shape.chain] for shape in self.shapes], np.int32)
        jumps = np.array([_jump(shape.rule, index) for shape in self.shapes], np.int32)
        self._fill_one(columns.chain, Slot.CHAIN, chains)
        self._fill_one(columns.jump, Slot.TARGET, jumps)
        for slot in (Slot.SOURCE, Slot.DESTINATION):
            self._fill_one(getattr(columns, slot), slot, None)
            self._fill_one(getattr(columns, f"{slot}_mask"), slot, None)
        for slot in (Slot.SPORTS, Slot.DPORTS, Slot.COMMENT):
            self._fill_one(getattr(columns, slot), slot, None)
        written = [
            (shape.rule.counters.packets, shape.rule.counters.bytes) for shape in self.shapes
        ]
        rows = ~np.array(self.counted, np.bool_)[self.shape]
        columns.counters[rows] = np.array(written, np.uint64)[self.shape[rows]]

    def _fill_one(self, column: NDArray[Any], slot: Slot, values: NDArray[Any] | None) -> None:
        lacking = np.array([slot not in shape.slots for shape in self.shapes], np.bool_)
        if lacking.any():
            rows = np.flatnonzero(lacking[self.shape])
            column[rows] = 0 if values is None else values[self.shape[rows]]

    # The finished table: its chains in their order, the rows by chain.
    def _sorted(self) -> BulkTable:
        self._use()
        table = self.saved.close()
        rank = {chain.name: at for at, chain in enumerate(table.chains)}
        ranks = np.array([*(rank[name] for name in self.columns.names), -1], np.int32)
        columns = self.columns
        columns.names = [chain.name for chain in table.chains]
        columns.chain, columns.jump = ranks[columns.chain], ranks[columns.jump]
        order = np.argsort(columns.chain, kind="stable")
        arrays = {name: array[order] for name, array in columns.arrays().items()}
        return BulkTable(
            family=columns.family,
            text=columns.text,
            names=columns.names,
            name=table.name,
            chains=table.chains,
            shapes=self.shapes,
            shape=self.shape[order],
            starts=np.searchsorted(arrays["chain"], np.arange(len(ranks))),
            **arrays,
        )

    # Each chain gets the rules of the shapes it uses.
    def _use(self) -> None:
        pairs = self.columns.chain * np.int64(len(self.shapes)) + self.shape
        _, firsts = np.unique(pairs, return_index=True)
        firsts.sort()
        drafts = [self.draft.chains[name] for name in self.columns.names]
        for chain, shape in zip(
            self.columns.chain[firsts].tolist(), self.shape[firsts].tolist(), strict=True
        ):
            drafts[chain].rules.append(self.shapes[shape].rule)

    # Whether a row comes out of the columns as RuleParser reads it.
    def _agrees(self, table: BulkTable, row: int) -> bool:
        chain, read = self._rule(int(table.line[row]))
        made = table.rule(row)
        return (
            (chain, read) == (table.names[table.chain[row]], made)
            and (read.counters, read.span) == (made.counters, made.span)
            and read.any_protocol == made.any_protocol
        )


# Of every shape with more rows than its first: the last, and for each slot one that differs.
def _samples(table: BulkTable) -> Iterator[int]:
    for shape, rows in table.rows_by_shape():
        if len(rows) < 2:
            continue
        chosen = {int(rows[-1])}
        if len(rows) > 2:
            for slot in shape.slots - {Slot.COMMENT}:
                column = getattr(table, _COLUMNS[slot])[rows]
                differs = np.flatnonzero((column != column[0]).reshape(len(rows), -1).any(axis=1))
                chosen.update(rows[differs[-1:]].tolist())
        yield from chosen


_COLUMNS = {slot: "jump" if slot is Slot.TARGET else slot.value for slot in Slot}


# User chains that a rule names by a plain word, and that are no extension's name.
def _targets(draft: TableDraft) -> dict[bytes, int]:
    taken = REGISTRY.names()
    return {
        name.encode("utf-8", "surrogateescape"): at
        for at, (name, chain) in enumerate(draft.chains.items())
        if chain.policy is None and name not in taken and _is_plain(name)
    }


def _is_plain(name: str) -> bool:
    return name[:1] not in ("", "-", "!") and '"' not in name


def _jump(rule: Rule, index: dict[str, int]) -> int:
    return index[rule.target.chain] if isinstance(rule.target, Jump) else -1
