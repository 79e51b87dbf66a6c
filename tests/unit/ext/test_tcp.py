"""`-m tcp` (tcp_mt): ports, flags and options behind guards."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError, SourceError
from bpfilter.plan.fields import FIELDS
from tests.unit.ext.support import Outcome, Values, bits, decide, listed, parse, saved

GOOD = {"sport": 40000, "dport": 22, "tcp_flags": 0x12, "tcp_options": bits(2, 8)}


@pytest.mark.parametrize(
    ("words", "line", "text"),
    [
        ("-p tcp -m tcp", "-p tcp -m tcp", "tcp"),
        ("-p tcp --dport ssh", "-p tcp -m tcp --dport 22", "tcp dpt:22"),
        (
            "-p tcp ! --sport 1:99 --destination-port 5:",
            "-p tcp -m tcp ! --sport 1:99 --dport 5:65535",
            "tcp spts:!1:99 dpts:5:65535",
        ),
        ("-p tcp ! --dport :", "-p tcp -m tcp ! --dport 0:65535", "tcp dpts:!0:65535"),
        (
            "-p tcp --syn",
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
            "tcp flags:0x17/0x02",
        ),
        (
            "-p tcp ! --tcp-flags psh,ALL NONE",
            "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
            "tcp flags:!0x3F/0x00",
        ),
        ("-p tcp --tcp-flags NONE SYN", "-p tcp -m tcp", "tcp"),
        ("-p tcp --tcp-option 8", "-p tcp -m tcp --tcp-option 8", "tcp option=8"),
        ("-p tcp ! --tcp-option 8", "-p tcp -m tcp ! --tcp-option 8", "tcp option=!8"),
    ],
)
def test_text(words: str, line: str, text: str) -> None:
    assert saved(words) == line
    assert listed(words) == text


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--dport 65536", "65536"),
        ("--dport tftp", "tftp"),
        ("--sport 9:8", "9:8"),
        ("--tcp-flags SYN,FOO SYN", "SYN,FOO"),
        ("--tcp-option 0", "0"),
        ("--tcp-option 256", "256"),
    ],
)
def test_bad_value_is_marked(words: str, value: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(f"-p tcp {words}")
    span = caught.value.span
    assert span is not None
    assert span.text[span.column - 1 : span.end - 1] == value


def test_syn_and_flags_exclude_each_other() -> None:
    with pytest.raises(SourceError, match="cannot be used together"):
        parse("-p tcp --syn --tcp-flags SYN SYN")


@pytest.mark.parametrize("protocol", ["", "-p udp", "! -p tcp"])
def test_needs_its_protocol(protocol: str) -> None:
    with pytest.raises(RuleError, match="only valid with -p tcp"):
        parse(f"{protocol} -m tcp --dport 5")


@pytest.mark.parametrize(
    ("words", "values", "outcome"),
    [
        ("-m tcp", GOOD, Outcome.MATCH),
        ("--dport 22", GOOD, Outcome.MATCH),
        ("--dport 23:", GOOD, Outcome.MISS),
        ("! --dport 22", GOOD, Outcome.MISS),
        ("! --dport :", GOOD, Outcome.MISS),
        ("--sport 40000:40001 --dport :22", GOOD, Outcome.MATCH),
        ("! --sport 1 ! --dport 1", GOOD, Outcome.MATCH),
        ("--tcp-flags SYN,ACK SYN,ACK", GOOD, Outcome.MATCH),
        ("--tcp-flags ALL SYN", GOOD, Outcome.MISS),
        ("! --tcp-flags ALL SYN", GOOD, Outcome.MATCH),
        ("--tcp-flags NONE SYN", GOOD, Outcome.MATCH),  # no mask asks nothing
        ("! --syn", GOOD, Outcome.MATCH),
        ("--tcp-option 8", GOOD, Outcome.MATCH),
        ("--tcp-option 2", GOOD, Outcome.MATCH),
        ("--tcp-option 255", GOOD, Outcome.MISS),
        ("! --tcp-option 8", GOOD, Outcome.MISS),
        ("! --tcp-option 34", GOOD, Outcome.MATCH),
        ("--dport 22", {"tcp_guard": 1}, Outcome.MISS),
        ("! --dport 23", {"tcp_guard": 1}, Outcome.MISS),
        ("--dport 22", {"tcp_guard": 2}, Outcome.DROP),
        # a header that cannot be read for options matters only once the ports matched
        ("--dport 22 --tcp-option 8", {**GOOD, "tcpopt_guard": 2}, Outcome.DROP),
        ("--dport 23 --tcp-option 8", {**GOOD, "tcpopt_guard": 2}, Outcome.MISS),
    ],
)
def test_predicate(words: str, values: Values, outcome: Outcome) -> None:
    assert values.keys() <= FIELDS.keys()
    assert decide(f"-p tcp {words}", values) is outcome
