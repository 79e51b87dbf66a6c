"""Numbers, addresses and words read at many places of a text at once.

Every function takes the text's bytes and the places (indexes) where values start, and
gives arrays as long as `at`. What it calls good is written the usual way and means one
thing only; whatever else may be read there (octal numbers, names, masks) is left to the
ordinary reader. The text must have PADDING newlines behind it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bpfilter.dataclass import dataclass

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: No value that is looked for here is longer, with what ends it.
PADDING = 64

_BLANK, _TAB, _NEWLINE, _QUOTE, _BACKSLASH = b' \t\n"\\'
_DOT, _SLASH, _COLON, _ZERO = b"./:0"
_ANY_PORT = 0xFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """What was read: only where `good`; a value's bytes go up to `end`, exclusive."""

    end: Places
    good: Flags
    #: [n, …]: words of an address, ends of a range; none for a word.
    value: NDArray[np.uint32]
    #: Prefix lengths of addresses.
    length: NDArray[np.uint32] | None = None


def decimals(data: Bytes, at: Places, digits: int) -> tuple[NDArray[np.uint64], Places, Flags]:
    """Read numbers of at most so many digits (19 or fewer), without leading zeros.

    Gives the numbers, where they end, and whether there is one.
    """
    number = np.zeros(len(at), np.uint64)
    count = np.zeros(len(at), np.int64)
    going = np.ones(len(at), np.bool_)
    for place in range(digits):
        digit = data[at + place] - np.uint8(_ZERO)
        going &= digit < 10
        number = np.where(going, number * np.uint64(10) + digit, number)
        count += going
        if not going.any():
            break
    end = at + count
    longer = going & (data[end] - np.uint8(_ZERO) < 10)
    padded = (count > 1) & (data[at] == _ZERO)
    return number, end, (count > 0) & ~longer & ~padded


def ipv4(data: Bytes, at: Places) -> Values:
    """Read `A.B.C.D[/LENGTH]`, the length from 1 to 32."""
    value = np.zeros(len(at), np.uint32)
    good = np.ones(len(at), np.bool_)
    end = at - 1
    for part in range(4):
        byte, end, found = decimals(data, end + 1, 3)
        good &= found & (byte <= 255)
        if part < 3:
            good &= data[end] == _DOT
        value = value << np.uint32(8) | byte.astype(np.uint32)
    masked = data[end] == _SLASH
    length, masked_end, found = decimals(data, end + 1, 2)
    good &= ~masked | (found & (length >= 1) & (length <= 32))
    end = np.where(masked, masked_end, end)
    good &= _is_over(data, end)
    lengths = np.where(masked, length, 32).astype(np.uint32)
    return Values(end, good, value[:, None], lengths)


def ipv6(data: Bytes, at: Places) -> Values:
    """Read `ADDRESS[/LENGTH]` as inet_pton(3) does, the length from 1 to 128."""
    end, good = word_ends(data, at, len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128"))
    length = np.full(len(at), 128, np.uint32)
    host_end = end.copy()
    for digits in (1, 2, 3):
        slash = end - digits - 1
        masked = good & (slash >= at) & (data[slash] == _SLASH)
        number, number_end, found = decimals(data, slash + 1, 3)
        good &= ~masked | (found & (number_end == end) & (number >= 1) & (number <= 128))
        length[masked] = number[masked]
        host_end[masked] = slash[masked]
    text = data.tobytes().decode("latin-1")
    hosts = [
        _host(text[a:b]) if ok else None
        for a, b, ok in zip(at.tolist(), host_end.tolist(), good.tolist(), strict=True)
    ]
    good &= np.fromiter((host is not None for host in hosts), np.bool_, len(hosts))
    joined = b"".join([host or bytes(16) for host in hosts])
    value = np.frombuffer(joined, ">u4").astype(np.uint32).reshape(-1, 4)
    return Values(end, good, value, length)


def ports(data: Bytes, at: Places) -> Values:
    """Read `PORT` or `LOW:HIGH`, LOW at most HIGH; not the range of all ports."""
    low, end, good = decimals(data, at, 5)
    ranged = data[end] == _COLON
    high, high_end, found = decimals(data, end + 1, 5)
    good &= ~ranged | found
    high = np.where(ranged, high, low)
    end = np.where(ranged, high_end, end)
    good &= (low <= high) & (high <= _ANY_PORT) & ((low > 0) | (high < _ANY_PORT))
    good &= _is_over(data, end)
    value = np.stack([low, high], axis=1).astype(np.uint32)
    return Values(end, good, value)


def word_ends(data: Bytes, at: Places, longest: int) -> tuple[Places, Flags]:
    """Find what ends each word; good if it is a blank or newline behind 1 to `longest` bytes."""
    window = np.lib.stride_tricks.sliding_window_view(data, longest + 1)[at]
    over = (window == _BLANK) | (window == _NEWLINE) | (window == _TAB)
    end = at + np.argmax(over, axis=1)
    return end, (end > at) & (data[end] != _TAB)


def first_lengths(words: NDArray[np.uint32], lengths: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Give the masks of prefix lengths, in words as wide as `words`."""
    starts = np.arange(words.shape[1], dtype=np.int64) * 32
    ones = np.clip(lengths.astype(np.int64)[:, None] - starts, 0, 32)
    masks: NDArray[np.int64] = (1 << 32) - (np.int64(1) << (32 - ones))
    return masks.astype(np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class Quotes:
    """Quotes that open or close a stretch, in the order of the text."""

    places: Places
    #: Places where lines start, and for each how many quotes stand before it.
    starts: Places
    before: Places
    #: Lines whose quotes are not in pairs around whole words, or with a `\\` outside of them.
    odd: Flags

    def are_around(self, at: Places, line: Places) -> Flags:
        """Tell which places, in these lines, lie within quotes."""
        inside: Flags = (np.searchsorted(self.places, at) - self.before[line]) & 1 == 1
        return inside

    def closing(self, at: Places) -> Places:
        """Give the place behind the quote that closes what each quote opens."""
        return self.places[np.searchsorted(self.places, at) + 1] + 1


def quotes(data: Bytes, starts: Places, stops: Places) -> Quotes:
    """Find the quotes of lines, which start and stop there; `\\` escapes what follows it."""
    first, last = int(starts[0]), int(stops[-1])
    places = np.flatnonzero(data[first:last] == _QUOTE) + first
    escapes = _escapes(np.flatnonzero(data[first:last] == _BACKSLASH) + first)
    if len(escapes):
        at = np.searchsorted(escapes, places - 1)
        places = places[escapes[np.minimum(at, len(escapes) - 1)] != places - 1]
    before = np.searchsorted(places, starts)
    count = np.searchsorted(places, stops) - before
    found = Quotes(places, starts, before, count & 1 == 1)
    line = np.searchsorted(starts, places, "right") - 1
    closes = (np.arange(len(places)) - before[line]) & 1 == 1
    lonely = np.where(closes, ~_is_over(data, places + 1), data[places - 1] != _BLANK)
    found.odd[line[lonely]] = True
    line = np.searchsorted(starts, escapes, "right") - 1
    found.odd[line[~found.are_around(escapes, line)]] = True
    return found


# Of backslashes in a row every other one escapes the next character.
def _escapes(places: Places) -> Places:
    if not len(places):
        return places
    index = np.arange(len(places))
    begins = np.r_[True, np.diff(places) != 1]
    first = np.maximum.accumulate(np.where(begins, index, 0))
    escapes: Places = places[(index - first) & 1 == 0]
    return escapes


def _is_over(data: Bytes, end: Places) -> Flags:
    after = data[end]
    over: Flags = (after == _BLANK) | (after == _NEWLINE)
    return over


def _host(text: str) -> bytes | None:
    import socket  # takes 3 ms, so not for IPv4

    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
