"""`-m frag` (frag_mt6)."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import V6, Outcome, Values, decide


@pytest.mark.parametrize(
    ("words", "values", "matches"),
    [
        ("", {}, True),
        ("--fragid 5:7", {"frag_id": 7}, True),
        ("--fragid 5:7", {"frag_id": 8}, False),
        ("! --fragid 5:7", {"frag_id": 8}, True),
        ("! --fragid 0:4294967295", {"frag_id": 6}, False),
        ("--fragres", {"frag_reserved": 0}, True),
        ("--fragres", {"frag_reserved": 1}, False),
        ("--fragfirst", {"frag_first": 1}, True),
        ("--fragfirst", {"frag_first": 0}, False),
        ("--fragmore", {"frag_more": 1}, True),
        ("--fragmore", {"frag_more": 0}, False),
        ("--fraglast", {"frag_more": 0}, True),
        ("--fraglast", {"frag_more": 1}, False),
        ("--fraglen 1", {}, True),
        ("! --fragid 5 --fragfirst --fragmore", {"frag_first": 1, "frag_more": 1}, True),
    ],
)
def test_predicate(words: str, values: Values, matches: bool) -> None:
    decided = decide(f"-m frag {words}", values, V6)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)


@pytest.mark.parametrize(("guard", "outcome"), [(1, Outcome.MISS), (2, Outcome.DROP)])
def test_guard_comes_before_inversion(guard: int, outcome: Outcome) -> None:
    assert decide("-m frag ! --fragid 5", {"frag_guard": guard}, V6) is outcome
