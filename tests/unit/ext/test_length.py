"""`-m length` (length_mt)."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from tests.unit.ext.support import Outcome, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--length 5", "--length 5", "length 5"),
        ("! --length 0x10:", "! --length 16:65535", "length !16:65535"),
        ("--length :9", "--length 0:9", "length 0:9"),
        ('--length ""', "--length 0", "length 0"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m length {given}") == f"-m length {line}"
    assert listed(f"-m length {given}") == text


@pytest.mark.parametrize("value", ["65536", "1:2:3", "5x", "-1", "1:65536"])
def test_bad_value_is_marked(value: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(f"-m length --length {value}")
    assert caught.value.span is not None
    assert caught.value.span.end == len(caught.value.span.text) + 1


@pytest.mark.parametrize(
    ("given", "length", "matches"),
    [
        ("40:60", 40, True),
        ("40:60", 60, True),
        ("40:60", 61, False),
        ("40:60", 39, False),
        ("0:65535", 65535, True),
        ("0:65535", 65536, False),  # BIG TCP: the field is wider than the option
    ],
)
def test_predicate(given: str, length: int, matches: bool) -> None:
    values = {"length": length}
    assert (decide(f"-m length --length {given}", values) is Outcome.MATCH) is matches
    assert (decide(f"-m length ! --length {given}", values) is Outcome.MISS) is matches
