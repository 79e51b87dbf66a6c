"""`-m udp` (udp_mt): ports behind a guard."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from tests.unit.ext.support import Outcome, Values, decide, listed, parse, saved

GOOD = {"udp_guard": 0, "sport": 1024, "dport": 53}


@pytest.mark.parametrize(
    ("words", "line", "text"),
    [
        ("-p udp --dport domain", "-p udp -m udp --dport 53", "udp dpt:53"),
        (
            "-p udp ! --sport 1:99 --dport 5:",
            "-p udp -m udp ! --sport 1:99 --dport 5:65535",
            "udp spts:!1:99 dpts:5:65535",
        ),
        ("-p udp --dport :", "-p udp -m udp", "udp"),
        ("-p udp ! --dport :", "-p udp -m udp ! --dport 0:65535", "udp dpts:!0:65535"),
        ("-p udp --dport 010", "-p udp -m udp --dport 10", "udp dpt:10"),
    ],
)
def test_text(words: str, line: str, text: str) -> None:
    assert saved(words) == line
    assert listed(words) == text


@pytest.mark.parametrize("port", ["0x35", "nosuch", "1:2:3", "-1", "65536", "5x"])
def test_bad_port_is_marked(port: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(f"-p udp --dport {port}")
    span = caught.value.span
    assert span is not None
    assert span.text[span.column - 1 : span.end - 1] == port


@pytest.mark.parametrize("protocol", ["", "-p tcp", "! -p udp"])
def test_needs_its_protocol(protocol: str) -> None:
    with pytest.raises(RuleError, match="udp"):
        parse(f"{protocol} -m udp --dport 5")


@pytest.mark.parametrize(
    ("words", "values", "outcome"),
    [
        ("--dport 53", GOOD, Outcome.MATCH),
        ("--dport 54", GOOD, Outcome.MISS),
        ("! --dport 53", GOOD, Outcome.MISS),
        ("--sport 1000:1024 --dport 53", GOOD, Outcome.MATCH),
        ("--sport 1000:1023 --dport 53", GOOD, Outcome.MISS),
        ("! --sport :", GOOD, Outcome.MISS),
        ("-m udp", GOOD, Outcome.MATCH),
        ("-m udp", {"udp_guard": 1}, Outcome.MISS),
        ("! --dport 53", {"udp_guard": 1}, Outcome.MISS),
        ("! --dport 53", {"udp_guard": 2}, Outcome.DROP),
    ],
)
def test_predicate(words: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p udp {words}", values) is outcome
