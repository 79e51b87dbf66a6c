"""`-m tos` (tos_mt): value and mask, and names of old."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import Outcome, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--tos 5", "--tos 0x05/0xff", "tos match0x05/0xff"),
        ("! --tos 5/3", "! --tos 0x05/0x03", "tos match!0x05/0x03"),
        ("--tos minimize-delay", "--tos 0x10/0x3f", "tos match0x10/0x3f"),
        ("--tos Maximize-Throughput", "--tos 0x08/0x3f", "tos match0x08/0x3f"),
        ("--tos Maximize-Reliability", "--tos 0x04/0x3f", "tos match0x04/0x3f"),
        ("--tos Minimize-Cost", "--tos 0x02/0x3f", "tos match0x02/0x3f"),
        ("--tos Normal-Service", "--tos 0x00/0x3f", "tos match0x00/0x3f"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m tos {given}") == f"-m tos {line}"
    assert listed(f"-m tos {given}") == text


@pytest.mark.parametrize("value", ["256", "5/256", "5/", "5x", "foo", "Normal"])
def test_bad_value_is_marked(value: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(f"-m tos --tos {value}")
    assert caught.value.span is not None
    assert caught.value.span.end == len(caught.value.span.text) + 1


@pytest.mark.parametrize(
    ("given", "tos", "matches"),
    [
        ("0x10/0x3f", 0xD0, True),
        ("0x10/0x3f", 0x11, False),
        ("0x10", 0x10, True),
        ("0x10", 0x90, False),
        ("5/3", 5, False),  # a bit outside the mask can never be equal
        ("0/0", 77, True),
    ],
)
def test_predicate(given: str, tos: int, matches: bool) -> None:
    assert (decide(f"-m tos --tos {given}", {"tos": tos}) is Outcome.MATCH) is matches
    assert (decide(f"-m tos ! --tos {given}", {"tos": tos}) is Outcome.MISS) is matches
