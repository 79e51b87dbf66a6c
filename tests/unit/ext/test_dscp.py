"""`-m dscp` (dscp_mt): the upper six bits of the field."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from bpfilter.ext.dscp import CLASSES
from tests.unit.ext.support import V6, Outcome, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--dscp 5", "--dscp 0x05", "DSCP match 0x05"),
        ("! --dscp-class af41", "! --dscp 0x22", "DSCP match !0x22"),
        ("--dscp-class EF,more", "--dscp 0x2e", "DSCP match 0x2e"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m dscp {given}") == f"-m dscp {line}"
    assert listed(f"-m dscp {given}") == text


def test_classes() -> None:
    assert len(CLASSES) == 22
    assert [CLASSES[name] for name in ("CS7", "BE", "AF11", "AF23", "AF32", "AF43", "EF")] == [
        0x38, 0x00, 0x0A, 0x16, 0x1C, 0x26, 0x2E,
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", "--dscp 64", "--dscp-class E", "--dscp 1 --dscp-class EF"])
def test_refused(given: str) -> None:
    with pytest.raises(SourceError):
        parse(f"-m dscp {given}")


@pytest.mark.parametrize("congestion", range(4))
def test_predicate(congestion: int) -> None:
    values = {"tos": 0x2E << 2 | congestion}
    assert decide("-m dscp --dscp 0x2e", values) is Outcome.MATCH
    assert decide("-m dscp ! --dscp-class EF", values, V6) is Outcome.MISS
    assert decide("-m dscp --dscp 0x2f", values) is Outcome.MISS
