"""`-m udplite`: udp's words and tests for protocol 136."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from tests.unit.ext.support import Outcome, decide, listed, parse, saved


def test_text() -> None:
    assert saved("-p 136 -m udplite --dport 5") == "-p udplite -m udplite --dport 5"
    assert listed("-p udplite -m udplite --dport 5") == "udplite dpt:5"


def test_needs_its_protocol() -> None:
    with pytest.raises(RuleError, match="udplite"):
        parse("-p udp -m udplite")


def test_predicate() -> None:
    words = "-p udplite --dport 53"
    assert decide(words, {"dport": 53}) is Outcome.MATCH
    assert decide(words, {"dport": 54}) is Outcome.MISS
    assert decide(words, {"udp_guard": 2}) is Outcome.DROP
