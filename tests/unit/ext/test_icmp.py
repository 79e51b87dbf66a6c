"""`-m icmp` (icmp_match): names, codes, and the type that stands for all."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from bpfilter.ext.icmp import NAMES
from tests.unit.ext.support import Outcome, Values, decide, listed, parse, saved


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--icmp-type ping", "--icmp-type 8", "icmptype 8"),
        ("! --icmp-type host-unr", "! --icmp-type 3/1", "icmp !type 3 code 1"),
        ("--icmp-type tos-host-u", "--icmp-type 3/12", "icmptype 3 code 12"),
        ("--icmp-type 3/1:4", "--icmp-type 3/1", "icmptype 3 codes 1-4"),
        ("--icmp-type 3/0:255", "--icmp-type 3", "icmptype 3"),
        ("--icmp-type any", "--icmp-type any", "icmptype 255"),
        ("! --icmp-type 0xff/3", "! --icmp-type 255/3", "icmp !type 255 code 3"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-p icmp {given}") == f"-p icmp -m icmp {line}"
    assert listed(f"-p icmp {given}") == text


@pytest.mark.parametrize("name", NAMES)
def test_every_name_stands_for_itself(name: str) -> None:
    wanted = "any" if name == "any" else NAMES[name]
    for spelled in (name, name.upper()):
        assert saved(f"-p icmp --icmp-type {spelled}") == f"-p icmp -m icmp --icmp-type {wanted}"


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        ("echo", "Ambiguous.*echo-reply.*echo-request"),
        ("256", "Unknown ICMP type"),
        ("8/", "Unknown ICMP code"),
        ("8/256", "Unknown ICMP code"),
        ("8/1:", "Unknown ICMP code"),
        ("3:4", "range not supported"),
        ("8/5x", "unknown character x"),
        ("8x", "unknown character x"),
    ],
)
def test_bad_type_is_marked(type_: str, reason: str) -> None:
    with pytest.raises(RuleError, match=reason) as caught:
        parse(f"-p icmp --icmp-type {type_}")
    span = caught.value.span
    assert span is not None
    assert span.text[span.column - 1 : span.end - 1] == type_


def test_needs_its_protocol() -> None:
    with pytest.raises(RuleError, match="icmp"):
        parse("-p tcp -m icmp --icmp-type 8")


@pytest.mark.parametrize(
    ("type_", "values", "outcome"),
    [
        ("8", {"icmp_type": 8, "icmp_code": 200}, Outcome.MATCH),
        ("8", {"icmp_type": 9}, Outcome.MISS),
        ("3/1:4", {"icmp_type": 3, "icmp_code": 4}, Outcome.MATCH),
        ("3/1:4", {"icmp_type": 3, "icmp_code": 5}, Outcome.MISS),
        ("3/4:1", {"icmp_type": 3, "icmp_code": 2}, Outcome.MISS),
        ("3/1", {"icmp_type": 4, "icmp_code": 1}, Outcome.MISS),
        ("any", {"icmp_type": 77}, Outcome.MATCH),
        ("255/3", {"icmp_type": 77, "icmp_code": 9}, Outcome.MATCH),
        ("any", {"icmp_guard": 1}, Outcome.MISS),
        ("any", {"icmp_guard": 2}, Outcome.DROP),
    ],
)
def test_predicate(type_: str, values: Values, outcome: Outcome) -> None:
    opposite = {Outcome.MATCH: Outcome.MISS, Outcome.MISS: Outcome.MATCH}
    expected = outcome if values.get("icmp_guard") else opposite[outcome]
    assert decide(f"-p icmp --icmp-type {type_}", values) is outcome
    assert decide(f"-p icmp ! --icmp-type {type_}", values) is expected
