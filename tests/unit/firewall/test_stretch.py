"""Stretches of lines: where two of them differ, wherever they lie in their texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.firewall import stretch
from bpfilter.firewall.stretch import Stretch, common


def within(text: bytes, before: bytes = b"x\n", after: bytes = b"y\n") -> Stretch:
    return Stretch(before + text + after, len(before), len(before) + len(text))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"", b"", (0, 0)),
        (b"a\nb\n", b"a\nb\n", (4, 0)),
        (b"a\nb\n", b"a\nc\n", (2, 0)),
        (b"a\nb\nc\n", b"a\nd\nc\n", (2, 2)),
        (b"ab\n", b"b\n", (0, 0)),
        (b"b\n", b"ab\n", (0, 0)),
        (b"x\nb\n", b"b\n", (0, 2)),
        (b"a\n", b"a\na\n", (2, 0)),
        (b"a\na\n", b"a\n", (2, 0)),
        (b"a\nb\na\n", b"a\n", (2, 0)),
        (b"xa\nb\n", b"ya\nb\n", (0, 2)),
        (b"a\nbc\nd\n", b"a\nc\nd\n", (2, 2)),
    ],
)
def test_what_is_the_same_are_whole_lines(
    old: bytes, new: bytes, expected: tuple[int, int]
) -> None:
    assert common(Stretch.of(old), Stretch.of(new)) == expected
    # What comes before and behind has no part in it, be it the same or not.
    assert common(within(old), within(new)) == expected
    assert common(within(old, b""), within(new, b"z\n", b"z")) == expected


LINES = st.lists(st.sampled_from(["a", "bb", ""]))


def alike(old: list[str], new: list[str]) -> int:
    pairs = enumerate(zip(old, new, strict=False))
    return next((n for n, (ours, theirs) in pairs if ours != theirs), min(len(old), len(new)))


@given(LINES, LINES)
def test_as_line_by_line(old: list[str], new: list[str]) -> None:
    texts = ["".join(f"{line}\n" for line in lines).encode() for lines in (old, new)]
    start, end = common(*map(within, texts))
    first = alike(old, new)
    assert start == sum(len(line) + 1 for line in old[:first])
    rest = old[first:][::-1], new[first:][::-1]
    assert end == sum(len(line) + 1 for line in rest[0][: alike(*rest)])


@pytest.mark.parametrize("size", [stretch._BLOCK_BYTES + n for n in (-2, -1, 0, 1, 2)])
def test_across_blocks(size: int) -> None:
    line = b"a" * (size - 1) + b"\n"
    old, new = line + b"b\n" + line, line + b"c\nd\n" + line
    assert common(within(old), within(new)) == (size, size)
    assert common(within(line), within(line)) == (size, 0)


def test_lines_and_numbers() -> None:
    found = within(b"a\nbb\nc\n")
    assert (len(found), bytes(found)) == (7, b"a\nbb\nc\n")
    assert found.lines(0, 7) == [b"a", b"bb", b"c"]
    assert found.lines(2, 5) == [b"bb"]
    assert (found.number(5), found.number(5, since=2), found.number(0)) == (2, 1, 0)
