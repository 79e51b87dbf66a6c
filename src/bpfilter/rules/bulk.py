"""Large rulesets read at speed: the text to columns, without an object for each rule.

`cutting.py` finds the values in all lines at once, `section.py` makes a table of them.
Lines that open and commit tables and declare chains are for `saved.py`.
"""

from __future__ import annotations

import numpy as np

from bpfilter.errors import SourceError
from bpfilter.rules import lexing
from bpfilter.rules.columns import BulkTable, Text, uncollected
from bpfilter.rules.keys import eights_of
from bpfilter.rules.lexing import Flags
from bpfilter.rules.model import Family
from bpfilter.rules.saved import MAX_LINE_BYTES, SavedReader
from bpfilter.rules.section import Section, give_up
from bpfilter.rules.shapes import Shape, Slot
from bpfilter.source import Span

__all__ = ["BulkTable", "Shape", "Slot", "Text", "read_bulk"]


def read_bulk(text: str, name: str, family: Family) -> dict[str, BulkTable] | None:
    """Read the tables of an iptables-save text; None if it is to be read line by line.

    That is so if a line of commands does anything but append one rule, if chains are
    declared behind rules, or if anything is wrong anywhere, which `parse_saved` tells best.
    """
    source = _source(text, name)
    if source is None:
        return None
    try:
        with uncollected():
            return _Reader(source, family).tables()
    except SourceError:
        return None


# None for a text that has control characters but tabs, or lines that are too long.
def _source(text: str, name: str) -> Text | None:
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    if not text.isascii() and encoded.decode("utf-8", "surrogateescape") != text:
        return None
    data = encoded + b"\n" * lexing.PADDING
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(array == ord("\n"))[: 1 - lexing.PADDING]
    controls = np.count_nonzero(array[: len(encoded)] < ord(" ")) - (len(ends) - 1)
    if controls and controls != encoded.count(b"\t"):
        return None
    longest = int(np.diff(ends, prepend=-1).max()) - 1
    return Text(name, data, ends) if longest <= MAX_LINE_BYTES else None


#: Behind the name of a user chain.
_DECLARED = b" - [0:0]"


class _Reader:
    """Reads a text; raises SourceError if there is any fault, or cause to give up."""

    def __init__(self, text: Text, family: Family) -> None:
        self.text = text
        self.saved = SavedReader(text.name, family)
        self.starts = np.r_[0, text.ends[:-1] + 1]
        self.firsts = np.frombuffer(text.data, np.uint8)[self.starts]
        #: Indexes of the lines that are commands.
        self.commands = np.flatnonzero(self._start_with("-["))

    def tables(self) -> dict[str, BulkTable]:
        """Read all."""
        tables: dict[str, BulkTable] = {}
        at = declared = 0  # the next command; the newest line that declares something
        for index, stop in self._others():
            line = self.text.line(index + 1)
            if line != "COMMIT":
                self._declare(index, stop)
                declared = index
                continue
            end = int(np.searchsorted(self.commands, index))
            lines = self.commands[at:end]
            if self.saved.draft is None or (len(lines) and lines[0] < declared):
                give_up("rules before the table, or before a chain of it")
            at = end
            table = Section(self.saved, self.text, self.starts, lines).table()
            tables.pop(table.name, None)
            tables[table.name] = table
        if self.saved.draft is not None or at != len(self.commands):
            give_up("no COMMIT")
        return tables

    # Lines that are neither commands nor comments, from one index to another: what declares
    # chains without counters, as iptables-save writes it, is taken together.
    def _others(self) -> list[tuple[int, int]]:
        plain = self._start_with(":") & (self.text.ends - self.starts > len(_DECLARED) + 1)
        words = eights_of(self.text.data)[np.maximum(self.text.ends - len(_DECLARED), 0)]
        plain &= words == int.from_bytes(_DECLARED, "little")
        others = ~self._start_with("-[#\n")
        starts = np.flatnonzero(others & ~(plain & np.r_[False, plain[:-1]]))
        stops = np.flatnonzero(others & ~(plain & np.r_[plain[1:], False])) + 1
        return list(zip(starts.tolist(), stops.tolist(), strict=True))

    def _declare(self, index: int, stop: int) -> None:
        block = self.text.decode(int(self.starts[index]), int(self.text.ends[stop - 1]))
        lines = block.split("\n")
        if block[0] not in "*:":
            give_up("not a line of a saved table")
        plain = block.count(" ") == 2 * len(lines) and "\t" not in block
        plain &= block[0] == ":" and block.endswith(_DECLARED.decode())
        draft = self.saved.draft
        for number, line in enumerate(lines, index + 1):
            name = line[1 : -len(_DECLARED)]
            if not plain or draft is None or name in draft.chains:
                self.saved.line(line, number)
            else:
                draft.add_chain(name, Span(self.text.name, number, 1, len(line) + 1, line))

    def _start_with(self, characters: str) -> Flags:
        return np.isin(self.firsts, np.frombuffer(characters.encode(), np.uint8))
