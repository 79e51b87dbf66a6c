"""From columns to lines: what RuleFormatter makes of the rule of each row.

Most lines of large rulesets are as iptables-save writes them. If one of a shape is, then so
are all others of that shape whose slots have their values written the usual way: these are
taken as they stand in the text, and no rules are made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from bpfilter.rules.columns import BulkTable, uncollected
from bpfilter.rules.expand import expand_rows, packed
from bpfilter.rules.lexing import Flags, Places
from bpfilter.rules.model import Address, Family
from bpfilter.rules.options import RuleFormatter
from bpfilter.rules.shapes import Shape, Slot
from bpfilter.rules.written import Written

#: Of comments that `words.quote` writes the same, those without a backslash.
_USUAL_COMMENT = rb"""[\w-]+|"[\w-]*[^\w"'\\-][^"'\\]*\""""


def write_columns(table: BulkTable, *, exact: bool = False) -> list[Written]:
    """Write a table's rules, as `write_table` does those of `BulkTable.table()`."""
    with uncollected():
        lines = _Rewriter(table, exact).lines()
    counters = table.counters.ravel().tolist()
    starts = table.starts.tolist()
    return [
        Written(chain, lines[start:stop], counters[2 * start : 2 * stop])
        for chain, start, stop in zip(table.chains, starts[:-1], starts[1:], strict=True)
    ]


class _Rewriter:
    def __init__(self, table: BulkTable, exact: bool) -> None:
        self.table = table
        self.texts = table.text.lines()
        self.formatter = RuleFormatter(table.family, exact=exact)
        self.comment = re.compile(_USUAL_COMMENT)

    def lines(self) -> list[str]:
        """Give the line of each row."""
        lines = [self.texts[number - 1] for number in self.table.line.tolist()]
        for shape, rows in self.table.rows_by_shape():
            others = rows[~self._are_written(shape, rows)]
            for row, line in zip(others.tolist(), self._written(shape, others), strict=True):
                lines[row] = line
        return lines

    # Which rows of a shape are known to stand in the text as they are written.
    def _are_written(self, shape: Shape, rows: Places) -> Flags:
        usual = self.table.usual[rows]
        if Slot.COMMENT in shape.slots:
            usual &= self._usual_comments(rows)
        if self.table.family is Family.IPV6:
            usual &= self._usual_hosts(shape, rows)
        found = rows[usual][:1]
        if len(rows) > 1 and len(found):
            text = self.texts[int(self.table.line[found[0]]) - 1]
            if next(self._written(shape, found)) == text:
                return usual
        return np.zeros(len(rows), np.bool_)

    def _usual_comments(self, rows: Places) -> Flags:
        match, data = self.comment.fullmatch, self.table.text.data
        places = self.table.comment[rows].tolist()
        usual = [match(data, start, end) is not None for start, end in places]
        return np.array(usual, np.bool_)

    # Looks for them where iptables-save has them: `-A CHAIN [!] -s ADDRESS [!] -d ADDRESS …`.
    def _usual_hosts(self, shape: Shape, rows: Places) -> Flags:
        from socket import AF_INET6, inet_ntop

        usual = np.ones(len(rows), np.bool_)
        words = [self.texts[number - 1].split(" ", 8) for number in self.table.line[rows].tolist()]
        place = 1
        for slot in (Slot.SOURCE, Slot.DESTINATION):
            address: Address | None = getattr(shape.rule, slot)
            place += 0 if address is None else 2 + address.inverted
            if slot in shape.slots:
                values = packed(getattr(self.table, slot)[rows])
                hosts = [inet_ntop(AF_INET6, value) for value in values]
                usual &= [
                    len(line) > place and line[place].startswith(f"{host}/")
                    for line, host in zip(words, hosts, strict=True)
                ]
        return usual

    def _written(self, shape: Shape, rows: Places) -> Iterator[str]:
        rules = expand_rows(self.table, shape, rows, self.texts)
        names = self.table.names
        chains = [names[chain] for chain in self.table.chain[rows].tolist()]
        return map(self.formatter.line, rules, chains)
