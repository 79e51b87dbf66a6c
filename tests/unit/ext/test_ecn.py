"""`-m ecn`: the code point of IP, and two flags of TCP if its header can be read."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.support import V6, Outcome, Values, decide, listed, parse, saved

ECE, CWR = 0x40, 0x80


def test_text() -> None:
    words = "-p tcp -m ecn ! --ecn-ip-ect 1 ! --ecn-tcp-cwr --ecn-tcp-ece"
    assert saved(words) == "-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr ! --ecn-ip-ect 1"
    assert listed(words) == "ECN match ECE !CWR !ECT=1"


@pytest.mark.parametrize(
    "words",
    [
        "-m ecn",
        "-m ecn --ecn-ip-ect 4",
        "-m ecn --ecn-tcp-ece",
        "! -p tcp -m ecn --ecn-tcp-cwr",
        "-p udp -m ecn --ecn-tcp-cwr",
    ],
)
def test_refused(words: str) -> None:
    with pytest.raises(SourceError):
        parse(words)


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--ecn-ip-ect 2", {"tos": 0xFE}, Outcome.MATCH),
        ("--ecn-ip-ect 2", {"tos": 0xFD}, Outcome.MISS),
        ("! --ecn-ip-ect 2", {"tos": 0xFD}, Outcome.MATCH),
        ("--ecn-tcp-ece", {"ecn_tcp": 1, "tcp_flags": ECE}, Outcome.MATCH),
        ("--ecn-tcp-ece", {"ecn_tcp": 1, "tcp_flags": CWR}, Outcome.MISS),
        ("! --ecn-tcp-ece", {"ecn_tcp": 1, "tcp_flags": CWR}, Outcome.MATCH),
        ("--ecn-tcp-cwr", {"ecn_tcp": 1, "tcp_flags": CWR}, Outcome.MATCH),
        ("! --ecn-tcp-cwr", {"ecn_tcp": 1, "tcp_flags": CWR}, Outcome.MISS),
        ("! --ecn-tcp-cwr", {"ecn_tcp": 0}, Outcome.MISS),
        ("--ecn-tcp-cwr --ecn-ip-ect 1", {"ecn_tcp": 1, "tcp_flags": CWR, "tos": 2}, Outcome.MISS),
    ],
)
def test_predicate(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p tcp -m ecn {given}", values) is outcome
    assert decide(f"-p tcp -m ecn {given}", values, V6) is outcome
