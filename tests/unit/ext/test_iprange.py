"""`-m iprange`: both families, both ends inclusive."""

from __future__ import annotations

import ipaddress

import pytest

from bpfilter.errors import RuleError
from tests.unit.ext.support import V4, V6, Outcome, decide, listed, parse, saved


def test_text() -> None:
    words = "-m iprange ! --dst-range 10-11 --src-range 1.2.3.4"
    assert saved(words) == (
        "-m iprange --src-range 1.2.3.4-1.2.3.4 ! --dst-range 10.0.0.0-11.0.0.0"
    )
    assert listed(words) == (
        "source IP range 1.2.3.4-1.2.3.4 destination IP range ! 10.0.0.0-11.0.0.0"
    )
    words = "-m iprange --src-range ::1.2.3.4-2001:0DB8:0:0:1:0:0:1"
    assert saved(words, V6) == "-m iprange --src-range ::1.2.3.4-2001:db8::1:0:0:1"


@pytest.mark.parametrize(
    "given",
    ["", "--src-range a-b", "--src-range 1.2.3.4/24", "--dst-range 1.2.3.4-", "--src-range ::1"],
)
def test_refused(given: str) -> None:
    with pytest.raises(RuleError):
        parse(f"-m iprange {given}")


def test_ipv6_takes_no_ipv4() -> None:
    with pytest.raises(RuleError, match=r"1\.2\.3\.4"):
        parse("-m iprange --src-range 1.2.3.4", V6)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("1.2.3.3", False),
        ("1.2.3.4", True),
        ("1.2.4.0", True),
        ("1.2.4.9", True),
        ("1.2.4.10", False),
    ],
)
def test_predicate_v4(address: str, inside: bool) -> None:
    values = {"saddr": int(ipaddress.ip_address(address))}
    given = "--src-range 1.2.3.4-1.2.4.9"
    assert (decide(f"-m iprange {given}", values) is Outcome.MATCH) is inside
    assert (decide(f"-m iprange ! {given}", values) is Outcome.MISS) is inside


def words_of(address: str) -> list[int]:
    packed = ipaddress.IPv6Address(address).packed
    return [int.from_bytes(packed[i : i + 4], "big") for i in range(0, 16, 4)]


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("2001:db8::fffe", False),
        ("2001:db8::ffff", True),
        ("2001:db8:0:1::", True),
        ("2001:db8:7:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:8::", True),
        ("2001:db8:8::1", False),
        ("::ffff", False),
        ("ffff::", False),
    ],
)
def test_predicate_v6(address: str, inside: bool) -> None:
    values = {"daddr": words_of(address)}
    given = "--dst-range 2001:db8::ffff-2001:db8:8::"
    assert (decide(f"-m iprange {given}", values, V6) is Outcome.MATCH) is inside
    assert (decide(f"-m iprange ! {given}", values, V6) is Outcome.MISS) is inside


@pytest.mark.parametrize(("family", "ends"), [(V4, "5.5.5.5-4.4.4.4"), (V6, "2::-1::")], ids=str)
def test_reversed_range_holds_nothing(family: object, ends: str) -> None:
    chosen = V4 if family is V4 else V6
    assert decide(f"-m iprange --src-range {ends}", {}, chosen) is Outcome.MISS
    assert decide(f"-m iprange ! --src-range {ends}", {}, chosen) is Outcome.MATCH


def test_both_sides_are_asked() -> None:
    words = "-m iprange --src-range 0.0.0.1 --dst-range 0.0.0.2"
    assert decide(words, {"saddr": 1, "daddr": 2}) is Outcome.MATCH
    assert decide(words, {"saddr": 1, "daddr": 3}) is Outcome.MISS
    assert decide(words, {"saddr": 2, "daddr": 2}) is Outcome.MISS
