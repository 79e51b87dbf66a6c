"""`-m mark` (mark_mt)."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import Outcome, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--mark 010", "--mark 0x8", "mark match 0x8"),
        ("! --mark 16/0xff", "! --mark 0x10/0xff", "mark match ! 0x10/0xff"),
        ("--mark 0/0xffffffff", "--mark 0x0", "mark match 0x0"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m mark {given}") == f"-m mark {line}"
    assert listed(f"-m mark {given}") == text


@pytest.mark.parametrize("value", ["4294967296", "1/4294967296", "x", "1/", "1x", "-1"])
def test_bad_value_is_marked(value: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(f"-m mark --mark {value}")
    assert caught.value.span is not None
    assert caught.value.span.end == len(caught.value.span.text) + 1


@pytest.mark.parametrize(
    ("given", "mark", "matches"),
    [
        ("0xffffffff", 0xFFFFFFFF, True),
        ("0x10/0xf0", 0x1F, True),
        ("0x10/0xf0", 0x2F, False),
        ("7/3", 7, False),  # a bit outside the mask can never be equal
        ("0/0", 5, True),
    ],
)
def test_predicate(given: str, mark: int, matches: bool) -> None:
    assert (decide(f"-m mark --mark {given}", {"mark": mark}) is Outcome.MATCH) is matches
    assert (decide(f"-m mark ! --mark {given}", {"mark": mark}) is Outcome.MISS) is matches
