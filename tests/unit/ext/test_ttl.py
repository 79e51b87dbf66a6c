"""`-m ttl` (ttl_mt)."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import V6, Outcome, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--ttl 5", "--ttl-eq 5", "TTL match TTL == 5"),
        ("! --ttl 5", "! --ttl-eq 5", "TTL match TTL != 5"),
        ("--ttl-lt 0x40", "--ttl-lt 64", "TTL match TTL < 64"),
        ("--ttl-gt 255", "--ttl-gt 255", "TTL match TTL > 255"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m ttl {given}") == f"-m ttl {line}"
    assert listed(f"-m ttl {given}") == text


@pytest.mark.parametrize(
    "given", ["", "--ttl-eq 256", "! --ttl-lt 5", "--ttl-lt 5 --ttl-gt 1", "--ttl 3 --ttl-eq 3"]
)
def test_refused(given: str) -> None:
    with pytest.raises(SourceError):
        parse(f"-m ttl {given}")


def test_not_for_ipv6() -> None:
    with pytest.raises(SourceError, match="ttl"):
        parse("-m ttl --ttl 5", V6)


@pytest.mark.parametrize(
    ("given", "matching"),
    [
        ("--ttl-eq 5", {5}),
        ("! --ttl-eq 5", {0, 4, 6, 255}),
        ("--ttl-lt 5", {0, 4}),
        ("--ttl-gt 5", {6, 255}),
        ("--ttl-lt 0", set()),
        ("--ttl-gt 255", set()),
        ("--ttl-lt 255", {0, 4, 5, 6}),
        ("--ttl-gt 0", {4, 5, 6, 255}),
    ],
)
def test_predicate(given: str, matching: set[int]) -> None:
    found = {
        ttl
        for ttl in (0, 4, 5, 6, 255)
        if decide(f"-m ttl {given}", {"ttl": ttl}) is Outcome.MATCH
    }
    assert found == matching
