"""`-m rt` (rt_mt6)."""

from __future__ import annotations

import pytest

from bpfilter.errors import RefusedError
from tests.unit.ext.support import V6, Outcome, Values, decide, parse


@pytest.mark.parametrize(
    ("words", "values", "matches"),
    [
        ("", {}, True),
        ("--rt-type 2", {"rt_type": 2}, True),
        ("--rt-type 2", {"rt_type": 3}, False),
        ("! --rt-type 2", {"rt_type": 3}, True),
        ("--rt-type 258", {"rt_type": 2}, False),
        ("! --rt-type 258", {"rt_type": 2}, True),
        ("--rt-segsleft 1:3", {"rt_segsleft": 3}, True),
        ("--rt-segsleft 1:300", {"rt_segsleft": 255}, True),
        ("--rt-segsleft 256:300", {"rt_segsleft": 255}, False),
        ("! --rt-segsleft 256:300", {"rt_segsleft": 255}, True),
        ("--rt-segsleft 3:1", {"rt_segsleft": 2}, False),
        ("! --rt-segsleft 0:4294967295", {}, False),
        ("--rt-len 24", {"rt_length": 24}, True),
        ("! --rt-len 24", {"rt_length": 24}, False),
        ("--rt-len 65560", {"rt_length": 24}, False),
        ("--rt-type 0 --rt-0-res", {"rt_reserved": 0}, True),
        ("--rt-type 0 --rt-0-res", {"rt_reserved": 1}, False),
    ],
)
def test_predicate(words: str, values: Values, matches: bool) -> None:
    decided = decide(f"-m rt {words}", values, V6)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)


@pytest.mark.parametrize(("guard", "outcome"), [(1, Outcome.MISS), (2, Outcome.DROP)])
def test_guard_comes_before_inversion(guard: int, outcome: Outcome) -> None:
    assert decide("-m rt ! --rt-type 2", {"rt_guard": guard}, V6) is outcome


def test_addresses_are_refused() -> None:
    rule = parse("-m rt --rt-type 0 --rt-0-addrs ::1", V6)
    with pytest.raises(RefusedError, match="'rt' with --rt-0-addrs"):
        rule.matches[0].predicate(V6, rule)
