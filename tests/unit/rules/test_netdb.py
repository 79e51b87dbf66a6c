"""Names of protocols and services."""

from __future__ import annotations

import pytest

from bpfilter.rules import netdb


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (6, "tcp"),
        (58, "ipv6-icmp"),
        (135, "mobility-header"),
        (47, "gre"),
        (4, "ipencap"),
        (200, None),
    ],
)
def test_protocol_name(number: int, name: str | None) -> None:
    assert netdb.protocol_name(number) == name


@pytest.mark.parametrize(
    ("name", "number"),
    [("icmpv6", 58), ("mh", 135), ("ospf", 89), ("ip", 0), ("all", 0), ("nosuch", None)],
)
def test_protocol_number(name: str, number: int | None) -> None:
    assert netdb.protocol_number(name) == number


def test_services_go_by_protocol() -> None:
    assert netdb.service_port("domain", "udp") == 53
    assert netdb.service_port("www", "tcp") == 80  # an alias
    assert netdb.service_port("tftp", "tcp") is None
    assert netdb.service_port("tftp") == 69
    assert netdb.service_port("nosuch") is None


def test_every_name_printed_is_read_back() -> None:
    for number in range(1, 256):
        name = netdb.protocol_name(number)
        assert name is None or netdb.protocol_number(name) == number
