"""`-m cpu` (cpu_mt)."""

from __future__ import annotations

from tests.unit.ext.support import Outcome, decide


def test_predicate() -> None:
    assert decide("-m cpu --cpu 3", {"cpu": 3}) is Outcome.MATCH
    assert decide("-m cpu --cpu 3", {"cpu": 2}) is Outcome.MISS
    assert decide("-m cpu ! --cpu 3", {"cpu": 2}) is Outcome.MATCH
