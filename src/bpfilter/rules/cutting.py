"""Lines of rules cut in two: the values in slots, and the rest, which is the line's key.

Lines with the same key are the same but for slots: a mark stands where each value was,
a control character, which no text has that comes here. Only plain values are cut out, at
the places iptables-save has them, each slot once in a line; all else stays in the key
and is for the ordinary reader to judge, with the first line of each key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfilter.rules import lexing
from bpfilter.rules.columns import Columns
from bpfilter.rules.lexing import Flags, Places, Quotes
from bpfilter.rules.model import Family
from bpfilter.rules.shapes import Slot

#: Counters in front of a rule; they are no slot of a shape, as every rule has counters.
_COUNTERS_MARK = 0x0E
#: An address has the mark of its slot plus how many words, less one, its mask reaches into.
_MARKS: dict[Slot, int] = {
    Slot.CHAIN: 0x0F,
    Slot.TARGET: 0x10,
    Slot.SPORTS: 0x11,
    Slot.DPORTS: 0x12,
    Slot.COMMENT: 0x13,
    Slot.SOURCE: 0x14,
    Slot.DESTINATION: 0x18,
}
_SLOTS: dict[int, Slot] = {
    mark + more: slot
    for slot, mark in _MARKS.items()
    for more in range(4 if slot in (Slot.SOURCE, Slot.DESTINATION) else 1)
}

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


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A slot's values: rows ascending, where the bytes start and end, and the mark for each."""

    slot: Slot
    row: Places
    at: Places
    end: Places
    mark: NDArray[np.uint8]


def slots_in(key: bytes) -> frozenset[Slot]:
    """Name the slots of a key."""
    return frozenset(slot for mark, slot in _SLOTS.items() if mark in key)


def has_counters(key: bytes) -> bool:
    """Tell whether the columns have the counters of lines with this key."""
    return _COUNTERS_MARK in key


class Cutter:
    """Cuts lines of one table into `columns`; `chains` may be slots, with their indexes."""

    def __init__(self, columns: Columns, chains: Mapping[bytes, int]) -> None:
        self.columns = columns
        self.chains = chains
        self.data = np.frombuffer(columns.text.data, np.uint8)
        # A view of the eight bytes from each place on.
        self.eights = np.ndarray((len(self.data) - 7,), "<u8", columns.text.data, strides=(1,))

    def cut(
        self, first_row: int, starts: Places, stops: Places
    ) -> tuple[list[bytes], list[Found]]:
        """Cut the lines between these places, which are rows from `first_row` on.

        Gives the keys, and what was found, in rows from 0; the columns have the values.
        """
        lines = _Lines(self, first_row, starts, stops)
        found = lines.find()
        return lines.keys(found), found


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
        self.counted: list[tuple[Places, Places]] = []

    def find(self) -> list[Found]:
        bodies = self._skip_counters()
        self.plain &= _starts_with(self.cutter.eights[bodies], _APPEND)
        first, last = int(self.starts[0]), int(self.stops[-1])
        if _QUOTE in self.columns.text.data[first:last]:
            self.quotes = lexing.quotes(self.data, self.starts, self.stops)
            self.plain &= ~self.quotes.odd
        rows = np.flatnonzero(self.plain)
        found = [self._chains(Slot.CHAIN, rows, bodies[rows] + len(_APPEND))]
        dashes = self._dashes()
        eights = self.cutter.eights[dashes]
        for slot, words in _OPTIONS.items():
            at = dashes[np.logical_or.reduce([_starts_with(eights, word) for word in words])]
            rows, at = self._once_in_plain_lines(at)
            if len(at):
                found.append(self._read(slot, rows, at + len(words[0])))
        return [each for each in found if len(each.row)]

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
        self.plain[rows[~good]] = False
        rows, at, end = rows[good], at[good], end[good] + 1
        self.columns.counters[rows + self.first_row, 0] = packets[good]
        self.columns.counters[rows + self.first_row, 1] = size[good]
        self.counted.append((at, end))
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

    def _read(self, slot: Slot, rows: Places, at: Places) -> Found:
        if slot is Slot.TARGET:
            return self._chains(slot, rows, at)
        if slot is Slot.COMMENT:
            return self._comments(rows, at)
        if slot in (Slot.SPORTS, Slot.DPORTS):
            return self._ports(slot, rows, at)
        return self._addresses(slot, rows, at)

    def _addresses(self, slot: Slot, rows: Places, at: Places) -> Found:
        read = lexing.ipv4 if self.columns.family is Family.IPV4 else lexing.ipv6
        values = read(self.data, at)
        assert values.length is not None
        good = values.good
        rows, length = rows[good], values.length[good]
        masks = lexing.first_lengths(values.value[good], length)
        into = rows + self.first_row
        getattr(self.columns, slot)[into] = values.value[good] & masks
        getattr(self.columns, f"{slot}_mask")[into] = masks
        mark = (length - 1) // 32 + _MARKS[slot]
        return Found(slot, rows, at[good], values.end[good], mark.astype(np.uint8))

    def _ports(self, slot: Slot, rows: Places, at: Places) -> Found:
        values = lexing.ports(self.data, at)
        rows = rows[values.good]
        getattr(self.columns, slot)[rows + self.first_row] = values.value[values.good]
        return _found(slot, rows, at, values.end, values.good)

    def _chains(self, slot: Slot, rows: Places, at: Places) -> Found:
        if not self.cutter.chains:
            rows = at = rows[:0]
        end, good = lexing.word_ends(self.data, at, _MAX_CHAIN_BYTES)
        data = self.columns.text.data
        known = self.cutter.chains.get
        index = np.fromiter(
            (known(data[a:b], -1) for a, b in zip(at.tolist(), end.tolist(), strict=True)),
            np.int32,
            len(at),
        )
        good &= index >= 0
        rows = rows[good]
        column = self.columns.chain if slot is Slot.CHAIN else self.columns.jump
        column[rows + self.first_row] = index[good]
        return _found(slot, rows, at, end, good)

    def _comments(self, rows: Places, at: Places) -> Found:
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
        return _found(Slot.COMMENT, rows, at, end, good)

    def keys(self, found: list[Found]) -> list[bytes]:
        """Give what is left of each line, with marks."""
        first, last = int(self.starts[0]), int(self.stops[-1])
        left = self.data[first:last].copy()
        dropped = np.zeros(len(left) + 1, np.bool_)
        for at, end in [*((each.at, each.end) for each in found), *self.counted]:
            dropped[at - first + 1] ^= True
            dropped[end - first] ^= True
        for each in found:
            left[each.at - first] = each.mark
        for at, _ in self.counted:
            left[at - first] = _COUNTERS_MARK
        kept = ~np.logical_xor.accumulate(dropped)[:-1]
        lines = left[kept].tobytes().split(b"\n")
        if len(lines) == len(self.starts):
            return lines
        # Comments lie between: every newline is a line's end, and none was dropped.
        newlines = np.flatnonzero(self.data[first:last] == ord("\n")) + first
        return [lines[at] for at in np.searchsorted(newlines, self.starts).tolist()]


def _starts_with(eights: NDArray[np.uint64], word: bytes) -> Flags:
    """Compare with the word's first eight bytes."""
    word = word[:8]
    shift = np.uint64(64 - 8 * len(word))
    same: Flags = eights << shift == np.uint64(int.from_bytes(word, "little")) << shift
    return same


def _found(slot: Slot, rows: Places, at: Places, end: Places, good: Flags) -> Found:
    mark = np.full(len(rows), _MARKS[slot], np.uint8)
    return Found(slot, rows, at[good], end[good], mark)
