"""Lines of rules cut in two: the values in slots, and the rest, which is the line's key.

Only plain values are cut out, at the places iptables-save has them, each slot once in a
line; all else stays in the key (`keys.py`) and is for the ordinary reader to judge, with
one line of each key.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.rules import lexing
from bpfilter.rules.columns import Columns
from bpfilter.rules.keys import COUNTERS_MARK, MARKS, Found, Keys, eights_of
from bpfilter.rules.lexing import Flags, Places, Quotes
from bpfilter.rules.model import Family
from bpfilter.rules.shapes import Slot

#: Where values stand; as iptables-save writes the options, with the blank after them.
_OPTIONS: dict[Slot, tuple[bytes, ...]] = {
    Slot.SOURCE: (b"-s ",),
    Slot.DESTINATION: (b"-d ",),
    Slot.SPORTS: (b"--sport ",),
    Slot.DPORTS: (b"--dport ",),
    Slot.TARGET: (b"-j ", b"-g "),
    Slot.COMMENT: (b"--comment ",),
}
_APPEND = b"-A "

_MAX_CHAIN_BYTES = 28
#: What is longer is cut off by the match.
_MAX_COMMENT_BYTES = 255
#: Words without quotes are looked through whole.
_MAX_PLAIN_BYTES = 60

_DASH, _BLANK, _QUOTE, _OPEN, _COLON, _CLOSE = b'- "[:]'


class Cutter:
    """Cuts lines of one table into `columns`; `chains` may be slots, with their indexes."""

    def __init__(self, columns: Columns, chains: Mapping[bytes, int]) -> None:
        self.columns = columns
        self.chains = chains
        self.data = np.frombuffer(columns.text.data, np.uint8)
        self.eights = eights_of(columns.text.data)

    def cut(self, first_row: int, starts: Places, stops: Places) -> Keys:
        """Cut the lines between these places, which are rows from `first_row` on.

        Gives their keys, of rows from 0 on; the columns have the values.
        """
        found = _Lines(self, first_row, starts, stops).find()
        return Keys(self.columns.text.data, starts, stops, found)


class _Lines:
    def __init__(self, cutter: Cutter, first_row: int, starts: Places, stops: Places) -> None:
        self.cutter = cutter
        self.data = cutter.data
        self.columns = cutter.columns
        self.first_row = first_row
        self.starts = starts
        self.stops = stops
        self.quotes: Quotes | None = None
        self.plain: Flags = np.ones(len(starts), np.bool_)
        self.found: list[Found] = []

    def find(self) -> list[Found]:
        bodies = self._skip_counters()
        self.plain &= _starts_with(self.cutter.eights[bodies], _APPEND)
        first, last = int(self.starts[0]), int(self.stops[-1])
        if _QUOTE in self.columns.text.data[first:last]:
            self.quotes = lexing.quotes(self.data, self.starts, self.stops)
            self.plain &= ~self.quotes.odd
        rows = np.flatnonzero(self.plain)
        self._chains(Slot.CHAIN, rows, bodies[rows] + len(_APPEND))
        dashes = self._dashes()
        eights = self.cutter.eights[dashes]
        for slot, words in _OPTIONS.items():
            at = dashes[np.logical_or.reduce([_starts_with(eights, word) for word in words])]
            rows, at = self._once_in_plain_lines(at)
            if len(at):
                self._read(slot, rows, at + len(words[0]))
        return self.found

    # `[packets:bytes] -A …`: gives where the command starts.
    def _skip_counters(self) -> Places:
        rows = np.flatnonzero(self.data[self.starts] == _OPEN)
        if not len(rows):
            return self.starts
        at = self.starts[rows]
        packets, end, good = lexing.decimals(self.data, at + 1, 19)
        good &= self.data[end] == _COLON
        size, end, found = lexing.decimals(self.data, end + 1, 19)
        good &= found & (self.data[end] == _CLOSE) & (self.data[end + 1] == _BLANK)
        rows, at, end = rows[good], at[good], end[good] + 1
        self.columns.counters[rows + self.first_row, 0] = packets[good]
        self.columns.counters[rows + self.first_row, 1] = size[good]
        self._keep(COUNTERS_MARK, rows, at, end)
        bodies = self.starts.copy()
        bodies[rows] = end + 1
        return bodies

    # Where words start with a dash.
    def _dashes(self) -> Places:
        first, last = int(self.starts[0]), int(self.stops[-1])
        part = self.data[first:last]
        return np.flatnonzero((part[1:] == _DASH) & (part[:-1] == _BLANK)) + (first + 1)

    def _once_in_plain_lines(self, at: Places) -> tuple[Places, Places]:
        rows = np.searchsorted(self.starts, at, "right") - 1
        good = (at < self.stops[rows]) & self.plain[rows]
        if self.quotes is not None:
            good &= ~self.quotes.are_around(at, rows)
        rows, at = rows[good], at[good]
        alone = np.ones(len(rows), np.bool_)
        again = rows[1:] == rows[:-1]
        alone[1:] &= ~again
        alone[:-1] &= ~again
        return rows[alone], at[alone]

    def _read(self, slot: Slot, rows: Places, at: Places) -> None:
        if slot is Slot.TARGET:
            self._chains(slot, rows, at)
        elif slot is Slot.COMMENT:
            self._comments(rows, at)
        elif slot in (Slot.SPORTS, Slot.DPORTS):
            self._ports(slot, rows, at)
        else:
            self._addresses(slot, rows, at)

    def _addresses(self, slot: Slot, rows: Places, at: Places) -> None:
        read = lexing.ipv4 if self.columns.family is Family.IPV4 else lexing.ipv6
        values = read(self.data, at)
        assert values.length is not None
        good = values.good
        rows, length = rows[good], values.length[good]
        masks = lexing.first_lengths(values.value[good], length)
        into = rows + self.first_row
        getattr(self.columns, slot)[into] = values.value[good] & masks
        getattr(self.columns, f"{slot}_mask")[into] = masks
        mark = (length - 1) // 32 + MARKS[slot]
        self._keep(mark, rows, at[good], values.end[good])

    def _ports(self, slot: Slot, rows: Places, at: Places) -> None:
        values = lexing.ports(self.data, at)
        rows = rows[values.good]
        getattr(self.columns, slot)[rows + self.first_row] = values.value[values.good]
        self._keep(MARKS[slot], rows, at[values.good], values.end[values.good])

    def _chains(self, slot: Slot, rows: Places, at: Places) -> None:
        if not self.cutter.chains:
            rows = at = rows[:0]
        end, good = lexing.word_ends(self.data, at, _MAX_CHAIN_BYTES)
        text = self.columns.text.data
        words = [text[a:b] for a, b in zip(at.tolist(), end.tolist(), strict=True)]
        known = map(self.cutter.chains.get, words, repeat(-1))
        index = np.fromiter(known, np.int32, len(words))
        good &= index >= 0
        rows = rows[good]
        column = self.columns.chain if slot is Slot.CHAIN else self.columns.jump
        column[rows + self.first_row] = index[good]
        self._keep(MARKS[slot], rows, at[good], end[good])

    def _comments(self, rows: Places, at: Places) -> None:
        whole = _starts_with(self.cutter.eights[at - 8], b"comment ")
        rows, at = rows[whole], at[whole]
        end, good = lexing.word_ends(self.data, at, _MAX_PLAIN_BYTES)
        start = self.data[at]
        good &= (start != _DASH) & (start != ord("!"))
        if self.quotes is not None:
            opens = start == _QUOTE
            end[opens] = self.quotes.closing(at[opens])
            good[opens] = (end - at)[opens] <= _MAX_COMMENT_BYTES + 2
        rows = rows[good]
        into = rows + self.first_row
        self.columns.comment[into, 0], self.columns.comment[into, 1] = at[good], end[good]
        self._keep(MARKS[Slot.COMMENT], rows, at[good], end[good])

    def _keep(self, mark: int | NDArray[Any], rows: Places, at: Places, end: Places) -> None:
        if len(rows):
            marks = np.broadcast_to(np.asarray(mark, np.uint8), rows.shape)
            self.found.append(Found(rows, at, end, marks))


def _starts_with(eights: NDArray[np.uint64], word: bytes) -> Flags:
    """Compare with the word's first eight bytes."""
    word = word[:8]
    shift = np.uint64(64 - 8 * len(word))
    same: Flags = eights << shift == np.uint64(int.from_bytes(word, "little")) << shift
    return same
