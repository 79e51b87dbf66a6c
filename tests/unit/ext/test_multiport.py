"""`-m multiport` (multiport_mt, revision 1): lists of ports and ranges."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from tests.unit.ext.support import Outcome, Values, decide, listed, parse, saved

FIFTEEN = ",".join(map(str, range(1, 16)))


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--sports ssh,http:https", "--sports 22,80:443", "multiport sports 22,80:443"),
        ("! --destination-ports 0x10", "! --dports 16", "multiport dports  !16"),
        (f"--ports {FIFTEEN}", f"--ports {FIFTEEN}", f"multiport ports {FIFTEEN}"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-p tcp -m multiport {given}") == f"-p tcp -m multiport {line}"
    assert listed(f"-p tcp -m multiport {given}") == text


@pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite", "sctp", "dccp"])
def test_protocols_with_ports(protocol: str) -> None:
    assert (
        saved(f"-p {protocol} -m multiport --ports 1") == f"-p {protocol} -m multiport --ports 1"
    )


@pytest.mark.parametrize(
    "ports",
    ["5:5", "5:4", "4:", ":4", "1,", "", "1:2:3", "70000", f"{FIFTEEN},16", f"{FIFTEEN}:16"],
)
def test_bad_list(ports: str) -> None:
    with pytest.raises(RuleError):
        parse(f'-p tcp -m multiport --ports "{ports}"')


@pytest.mark.parametrize(
    "words",
    [
        "-m multiport --ports 1",
        "-p icmp -m multiport --ports 1",
        "! -p tcp -m multiport --ports 1",
        "-p tcp -m multiport",
        "-p tcp -m multiport --sports 1 --dports 2",
        "-p udp -m multiport --ports ssh",
    ],
)
def test_refused(words: str) -> None:
    with pytest.raises(RuleError):
        parse(words)


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--ports 1,5:7", {"sport": 9, "dport": 6}, Outcome.MATCH),
        ("--ports 1,5:7", {"sport": 1, "dport": 9}, Outcome.MATCH),
        ("--ports 1,5:7", {"sport": 8, "dport": 4}, Outcome.MISS),
        ("--sports 1,5:7", {"sport": 8, "dport": 6}, Outcome.MISS),
        ("--dports 1,5:7", {"sport": 8, "dport": 7}, Outcome.MATCH),
        ("! --dports 1,5:7", {"sport": 8, "dport": 7}, Outcome.MISS),
        ("! --dports 1,5:7", {"sport": 7, "dport": 8}, Outcome.MATCH),
        ("! --dports 1", {"ports_guard": 1}, Outcome.MISS),
        ("! --dports 1", {"ports_guard": 2}, Outcome.DROP),
    ],
)
def test_predicate(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p tcp -m multiport {given}", values) is outcome
