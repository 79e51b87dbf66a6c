"""Differences of texts: what is said to have changed makes the one of the other."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.firewall.differences import Hunk, hunks
from bpfilter.firewall.stretch import Stretch


def text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def differ(old: bytes, new: bytes, most: int) -> list[Hunk] | None:
    return hunks(Stretch.of(old), Stretch(b"before\n" + new + b"after\n", 7, 7 + len(new)), most)


def changed(old: list[str], new: list[str], found: list[Hunk]) -> list[str]:
    """Make the new lines of the old ones and what differs."""
    made: list[str] = []
    at = 0
    for hunk in found:
        made += old[at : hunk.old]
        assert len(made) == hunk.new
        assert hunk.offset == len(text(new[: hunk.new]))
        assert [line.decode() for line in hunk.gone] == old[hunk.old : hunk.old + len(hunk.gone)]
        made += [line.decode() for line in hunk.come]
        at = hunk.old + len(hunk.gone)
    return made + old[at:]


LINES = st.lists(st.sampled_from("abcde"), max_size=12)


@given(LINES, LINES)
def test_what_differs_makes_the_one_of_the_other(old: list[str], new: list[str]) -> None:
    found = differ(text(old), text(new), 24)
    assert found is not None
    assert changed(old, new, found) == new
    for left, right in itertools.pairwise(found):
        assert left.old + len(left.gone) < right.old
    few = sum(len(hunk.gone) + len(hunk.come) for hunk in found)
    assert differ(text(old), text(new), few) == found
    assert few == 0 or differ(text(old), text(new), few - 1) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_few_lines_of_many(seed: int) -> None:
    rng = random.Random(seed)
    old = [f"rule {n}" for n in range(5000)]
    new = list(old)
    for number in range(10):
        at = rng.randrange(len(new))
        match rng.randrange(3):
            case 0:
                new[at] = f"other {number}"
            case 1:
                del new[at]
            case _:
                new.insert(at, f"more {number}")
    found = differ(text(old), text(new), 20)
    assert found is not None
    assert changed(old, new, found) == new


def test_nothing_and_everything() -> None:
    assert differ(b"a\n", b"a\n", 0) == []
    assert differ(b"", b"a\nb\n", 2) == [Hunk(0, [], 0, [b"a", b"b"], 0)]
    assert differ(b"a\nb\n", b"", 2) == [Hunk(0, [b"a", b"b"], 0, [], 0)]
    assert differ(b"a\nb\n", b"c\nb\n", 2) == [Hunk(0, [b"a"], 0, [b"c"], 0)]
    many = text([str(n) for n in range(1000)])
    assert differ(many, text([str(-n) for n in range(1, 1001)]), 128) is None
