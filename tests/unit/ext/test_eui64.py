"""`-m eui64` (eui64_mt6)."""

from __future__ import annotations

from tests.unit.ext.support import V6, Outcome, decide


def test_predicate() -> None:
    assert decide("-m eui64", {"eui64": 1}, V6) is Outcome.MATCH
    assert decide("-m eui64", {}, V6) is Outcome.MISS
    assert decide("-m eui64", {"eui64": 1, "eui64_guard": 1}, V6) is Outcome.MISS
    assert decide("-m eui64", {"eui64": 1, "eui64_guard": 2}, V6) is Outcome.DROP
