"""Values read at many places at once mean what the readers of single words say."""

from __future__ import annotations

import contextlib
import socket

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfilter.errors import SourceError
from bpfilter.rules import lexing
from bpfilter.rules.address import parse_addresses
from bpfilter.rules.lexing import Bytes, Places
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Word

V4, V6 = Family.IPV4, Family.IPV6
PATIENTLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def laid_out(words: list[str], before: str = "x ", after: str = " y") -> tuple[Bytes, Places]:
    """Give a text with a word in each line, and where the words are."""
    lines = [f"{before}{word}{after}\n".encode() for word in words]
    starts = np.cumsum([0, *map(len, lines)])[:-1]
    data = np.frombuffer(b"".join(lines) + b"\n" * lexing.PADDING, np.uint8)
    return data, starts.astype(np.int64) + len(before)


PARTS = st.sampled_from([
    "0", "1", "9", "10", "00", "01", "99", "128", "127", "255", "256", "300", "32", "33", "65535",
    "65536", "123456", "a", "A", "ffff", "1ffff", ".", ":", "/", "::", ",",
])  # fmt: skip
WORDS = st.lists(PARTS, min_size=1, max_size=9).map("".join) | st.from_regex(
    r"[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,3})?", fullmatch=True
)


@PATIENTLY
@given(st.lists(st.from_regex(r"[0-9]{0,20}", fullmatch=True)), st.integers(1, 19))
def test_decimals(words: list[str], digits: int) -> None:
    data, at = laid_out(words, after=";")
    number, end, good = lexing.decimals(data, at, digits)
    for index, word in enumerate(words):
        plain = 0 < len(word) <= digits and (word == "0" or word[0] != "0")
        assert good[index] == plain
        if plain:
            assert (number[index], end[index]) == (int(word), at[index] + len(word))


def check_addresses(words: list[str], family: Family) -> int:
    data, at = laid_out(words)
    values = (lexing.ipv4 if family is V4 else lexing.ipv6)(data, at)
    assert values.length is not None
    masks = lexing.first_lengths(values.value, values.length)
    for index in np.flatnonzero(values.good).tolist():
        assert values.end[index] == at[index] + len(words[index])
        (address,) = parse_addresses(Word(words[index]), family)
        masked = values.value[index] & masks[index]
        assert masked.astype(">u4").tobytes() == address.value
        assert masks[index].astype(">u4").tobytes() == address.mask
        assert any(address.mask)
    return int(values.good.sum())


@PATIENTLY
@given(st.lists(WORDS, max_size=20))
def test_ipv4(words: list[str]) -> None:
    check_addresses(words, V4)


@PATIENTLY
@given(st.lists(WORDS, max_size=20))
def test_ipv6(words: list[str]) -> None:
    check_addresses(words, V6)


@PATIENTLY
@given(st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.integers(1, 32))))
def test_every_ipv4_address_is_read(values: list[tuple[bytes, int]]) -> None:
    words = [f"{socket.inet_ntoa(value)}/{length}" for value, length in values]
    assert check_addresses(words, V4) == len(words)


@PATIENTLY
@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(1, 128))))
def test_every_ipv6_address_is_read(values: list[tuple[bytes, int]]) -> None:
    words = [f"{socket.inet_ntop(socket.AF_INET6, value)}/{length}" for value, length in values]
    assert check_addresses(words, V6) == len(words)


@pytest.mark.parametrize("family", [V4, V6])
def test_addresses_that_only_the_ordinary_reader_takes(family: Family) -> None:
    words = ["localhost", "0/0", "::/0", "10.1", "0x7f.1.2.3", "010.0.0.1", "1.2.3.4/255.0.0.0"]
    taken = 0
    for word in words:
        with contextlib.suppress(SourceError):
            taken += len(parse_addresses(Word(word), family))
    assert taken >= 2
    assert check_addresses(words, family) == 0


RANGES = st.from_regex(r"[1-9]?[0-9](:[1-9]?[0-9])?", fullmatch=True)


@PATIENTLY
@given(st.lists(WORDS | RANGES, max_size=20))
def test_ports(words: list[str]) -> None:
    data, at = laid_out(words)
    values = lexing.ports(data, at)
    for index, word in enumerate(words):
        low, colon, high = word.partition(":")
        ends = [low, high if colon else low]
        plain = all(end.isdecimal() and str(int(end)) == end for end in ends)
        numbers = [int(end) for end in ends] if plain else [1, 0]
        plain &= numbers[0] <= numbers[1] <= 65535 and numbers != [0, 65535]
        assert values.good[index] == plain
        if plain:
            assert values.value[index].tolist() == numbers
            assert values.end[index] == at[index] + len(word)


@PATIENTLY
@given(st.lists(st.text("ab-", max_size=9)), st.integers(1, 7))
def test_word_ends(words: list[str], longest: int) -> None:
    data, at = laid_out(words, after="")
    end, good = lexing.word_ends(data, at, longest)
    assert good.tolist() == [0 < len(word) <= longest for word in words]
    assert [int(e) for e, g in zip(end, good, strict=True) if g] == [
        int(a) + len(word) for a, g, word in zip(at, good, words, strict=True) if g
    ]


@PATIENTLY
@given(st.lists(st.text('ab" \\', max_size=12), min_size=1))
def test_quotes(lines: list[str]) -> None:
    data, starts = laid_out(lines, before="", after="")
    stops = starts + np.array([len(line) for line in lines], np.int64)
    quotes = lexing.quotes(data, starts, stops)
    for number, line in enumerate(lines):
        inside, odd = quoted(line)
        assert quotes.odd[number] == odd
        if not odd:
            at = starts[number] + np.arange(len(line))
            unquoted = [at for at, char in enumerate(line) if char not in '"\\']
            found = quotes.are_around(at, np.full(len(line), number))
            assert found[unquoted].tolist() == [inside[at] for at in unquoted]


def quoted(line: str) -> tuple[list[bool], bool]:
    """Give which characters are in quotes, and whether anything about these is odd."""
    inside, odd, is_open, escaped = [], False, False, False
    for at, char in enumerate(line):
        inside.append(is_open)
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
            odd |= not is_open
        elif char == '"':
            beside = line[at + 1 : at + 2] if is_open else line[at - 1 : at] if at else "\n"
            odd |= beside not in ((" ", "") if is_open else (" ",))
            is_open = not is_open
    return inside, odd or is_open
