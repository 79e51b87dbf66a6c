"""`-m connmark` (connmark_mt): as mark, of a connection there must be."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import Outcome, Values, decide, listed, saved


def test_text() -> None:
    assert saved("-m connmark ! --mark 1/2") == "-m connmark ! --mark 0x1/0x2"
    assert listed("-m connmark ! --mark 1/2") == "connmark match ! 0x1/0x2"
    assert listed("-m connmark --mark 1") == "connmark match  0x1"


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--mark 1/3", {"ct_present": 1, "ct_mark": 5}, Outcome.MATCH),
        ("! --mark 1/3", {"ct_present": 1, "ct_mark": 5}, Outcome.MISS),
        ("! --mark 1/3", {"ct_present": 1, "ct_mark": 6}, Outcome.MATCH),
        ("--mark 0", {"ct_present": 0, "ct_mark": 0}, Outcome.MISS),
        ("! --mark 1", {"ct_present": 0, "ct_mark": 0}, Outcome.MISS),
        ("--mark 1", {"ct_present": 1, "mark": 1}, Outcome.MISS),
    ],
)
def test_predicate(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-m connmark {given}", values) is outcome
