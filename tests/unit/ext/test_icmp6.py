"""`-m icmp6` (icmp6_match): as icmp, but 255 is a type like others."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from bpfilter.ext.icmp6 import NAMES
from tests.unit.ext.support import V6, Outcome, decide, listed, parse, saved


@pytest.mark.parametrize("protocol", ["icmpv6", "ipv6-icmp", "58"])
def test_text(protocol: str) -> None:
    words = f"-p {protocol} ! --icmpv6-type no-route"
    assert saved(words, V6) == "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/0"
    assert listed(words, V6) == "ipv6-icmp !type 1 code 0"
    assert listed(f"-p {protocol} --icmpv6-type ping", V6) == "ipv6-icmptype 128"


def test_match_name_of_old() -> None:
    assert saved("-p 58 -m icmpv6 --icmpv6-type 1", V6) == "-p ipv6-icmp -m icmp6 --icmpv6-type 1"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_stands_for_itself(name: str) -> None:
    assert saved(f"-p 58 --icmpv6-type {name}", V6).endswith(f"--icmpv6-type {NAMES[name]}")


@pytest.mark.parametrize("words", ["-p 58 --icmpv6-type any", "-p tcp -m icmp6 --icmpv6-type 1"])
def test_refused(words: str) -> None:
    with pytest.raises(RuleError):
        parse(words, V6)


def test_predicate() -> None:
    words = "-p 58 --icmpv6-type 255"
    assert decide(words, {"icmp_type": 255}, V6) is Outcome.MATCH
    assert decide(words, {"icmp_type": 1}, V6) is Outcome.MISS
    assert decide(words, {"icmp_guard": 1}, V6) is Outcome.MISS
    assert decide(words, {"icmp_guard": 2}, V6) is Outcome.DROP
    assert (
        decide("-p 58 ! --icmpv6-type 1/0:2", {"icmp_type": 1, "icmp_code": 2}, V6) is Outcome.MISS
    )
