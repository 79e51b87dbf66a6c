"""`-m hl` (hl_mt6): ttl's words for IPv6."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import V6, Outcome, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("! --hl 5", "! --hl-eq 5", "HL match HL != 5"),
        ("--hl-lt 5", "--hl-lt 5", "HL match HL < 5"),
        ("--hl-gt 5", "--hl-gt 5", "HL match HL > 5"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m hl {given}", V6) == f"-m hl {line}"
    assert listed(f"-m hl {given}", V6) == text


def test_not_for_ipv4() -> None:
    with pytest.raises(SourceError, match="hl"):
        parse("-m hl --hl 5")


def test_predicate() -> None:
    assert decide("-m hl --hl 5", {"ttl": 5}, V6) is Outcome.MATCH
    assert decide("-m hl --hl-gt 5", {"ttl": 5}, V6) is Outcome.MISS
