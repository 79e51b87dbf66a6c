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


@pytest.mark.parametrize(
    ("addresses", "length", "matches"),
    [
        ("::1", 24, True),
        ("::1", 32, True),  # half an address follows
        ("::1", 40, False),
        ("::1", 16, False),
        ("::2", 24, False),
        ("::1,2001:db8::1", 40, True),
        ("::1,2001:db8::2", 40, False),
        ("2001:db8::1,::1", 40, False),
    ],
)
def test_addresses(addresses: str, length: int, matches: bool) -> None:
    words = [0, 0, 0, 1, 0x2001_0DB8, 0, 0, 1, *[0] * 56]
    values: Values = {"rt_length": length, "rt_addrs": words}
    decided = decide(f"-m rt --rt-type 0 --rt-0-addrs {addresses}", values, V6)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)


def test_addresses_in_any_place_are_refused() -> None:
    rule = parse("-m rt --rt-type 0 --rt-0-addrs ::1 --rt-0-not-strict", V6)
    with pytest.raises(RefusedError, match="'rt' with --rt-0-not-strict"):
        rule.matches[0].predicate(V6, rule)
