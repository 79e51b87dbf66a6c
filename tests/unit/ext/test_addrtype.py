"""`-m addrtype`: types of the routing tables (IPv4), classes of the address alone (IPv6)."""

from __future__ import annotations

import socket

import pytest

from bpfilter.errors import RefusedError, RuleError
from bpfilter.rules.model import Family
from tests.unit.ext.support import V4, V6, Outcome, decide, listed, match, parse, saved

HIT, MISS = Outcome.MATCH, Outcome.MISS


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("--dst-type LOCAL", "--dst-type LOCAL", "ADDRTYPE match dst-type LOCAL"),
        (
            "! --src-type unicast,loc --limit-iface-in",
            "! --src-type UNICAST,LOCAL --limit-iface-in",
            "ADDRTYPE match src-type !UNICAST,LOCAL limit-in",
        ),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-m addrtype {given}") == f"-m addrtype {line}"
    assert listed(f"-m addrtype {given}") == text


@pytest.mark.parametrize(
    ("types", "answer"), [("LOCAL", HIT), ("UNICAST", MISS), ("BROADCAST,LOCAL", HIT)]
)
def test_route_types(types: str, answer: Outcome) -> None:
    opposite = MISS if answer is HIT else HIT
    assert decide(f"-m addrtype --dst-type {types}", {"dst_type": 1 << 2}) is answer
    assert decide(f"-m addrtype ! --dst-type {types}", {"dst_type": 1 << 2}) is opposite
    limited = f"-m addrtype --src-type {types} --limit-iface-in"
    assert decide(limited, {"src_type_in": 1 << 2, "src_type": 1 << 1}) is answer


UNICAST, MULTICAST, UNSPEC = "UNICAST", "MULTICAST", "UNSPEC"
CLASSES = {
    "::": {UNSPEC},
    "::1": {UNICAST},
    "::2": {UNICAST},
    "::1:0:0:0": {UNICAST},
    "::ffff:10.0.0.1": set(),
    "::1:ffff:10.0.0.1": {UNICAST},
    "0:0:0:1:0:ffff:a00:1": {UNICAST},
    "2001:db8::1": {UNICAST},
    "fc00::1": {UNICAST},
    "fe80::1": {UNICAST},
    "feff:ffff::1": {UNICAST},
    "ff00::": {MULTICAST},
    "ff02::1": {MULTICAST},
    "ffff::": {MULTICAST},
}


@pytest.mark.parametrize("address", CLASSES)
@pytest.mark.parametrize("asked", [UNICAST, MULTICAST, UNSPEC])
@pytest.mark.parametrize("end", ["src", "dst"])
def test_classes_of_ipv6(address: str, asked: str, end: str) -> None:
    data = socket.inet_pton(socket.AF_INET6, address)
    words = [int.from_bytes(data[i : i + 4], "big") for i in range(0, 16, 4)]
    values = {"saddr" if end == "src" else "daddr": words}
    answer = HIT if asked in CLASSES[address] else MISS
    opposite = MISS if answer is HIT else HIT
    assert decide(f"-m addrtype --{end}-type {asked}", values, V6) is answer
    assert decide(f"-m addrtype ! --{end}-type {asked}", values, V6) is opposite


def test_all_listed_classes_must_hold() -> None:
    assert decide("-m addrtype --dst-type UNICAST,UNSPEC", {}, V6) is MISS


@pytest.mark.parametrize("types", ["LOCAL", "ANYCAST", "UNREACHABLE", "UNICAST,LOCAL"])
def test_routes_of_ipv6_are_refused(types: str) -> None:
    rule = parse(f"-m addrtype --dst-type {types}", V6)
    with pytest.raises(RefusedError, match="cannot look up a route"):
        rule.matches[-1].predicate(V6, rule)


@pytest.mark.parametrize(
    ("given", "family"),
    [
        ("", V4),
        ("--dst-type NOWHERE", V4),
        ("--dst-type BROADCAST", V6),
        ("--dst-type LOCAL --limit-iface-in --limit-iface-out", V4),
        ("--dst-type LOCAL --limit-iface-out", V4),
    ],
)
def test_refused_by_iptables(given: str, family: Family) -> None:
    with pytest.raises(RuleError):
        match(f"-m addrtype {given}", family)
