"""Addresses and masks of every shape, both families."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.errors import RuleError
from bpfilter.rules.address import (
    format_host,
    format_listed,
    format_saved,
    parse_addresses,
    parse_number_host,
    prefix_length,
)
from bpfilter.rules.model import Address, Family
from bpfilter.rules.registry import Word

V4, V6 = Family.IPV4, Family.IPV6


def one(text: str, family: Family = V4) -> Address:
    (address,) = parse_addresses(Word(text), family)
    return address


# (text, as iptables-save prints it, as iptables -nL does)
@pytest.mark.parametrize(
    ("text", "saved", "listed"),
    [
        ("10.1.2.3", "10.1.2.3/32", "10.1.2.3"),
        ("10.1.2.3/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/255.0.255.0", "10.0.2.0/255.0.255.0", "10.0.2.0/255.0.255.0"),
        ("10.1.2.3/255.255.255.255", "10.1.2.3/32", "10.1.2.3"),
        ("10.1.2.3/0.0.0.255", "0.0.0.3/0.0.0.255", "0.0.0.3/0.0.0.255"),
        ("10.1", "10.1.0.0/32", "10.1.0.0"),
        ("0x0a.010.1.1", "10.8.1.1/32", "10.8.1.1"),
        ("any/0", "0.0.0.0/0", "0.0.0.0/0"),
        ("1.2.3.4/+8", "1.0.0.0/8", "1.0.0.0/8"),
        ("localhost", "127.0.0.1/32", "127.0.0.1"),
    ],
)
def test_ipv4(text: str, saved: str, listed: str) -> None:
    address = one(text)
    assert format_saved(address.value, address.mask) == saved
    assert format_listed(address.value, address.mask) == listed


@pytest.mark.parametrize(
    ("text", "saved", "listed"),
    [
        ("2001:DB8::1", "2001:db8::1/128", "2001:db8::1"),
        ("2001:db8::1/32", "2001:db8::/32", "2001:db8::/32"),
        ("fe80::1/ffff::", "fe80::/16", "fe80::/16"),
        ("1::2/ffff:0:ffff::", "1::/ffff:0:ffff::", "1::/ffff:0:ffff::"),
        ("any/0", "::/0", "::/0"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4/128", "::ffff:1.2.3.4"),
        ("localhost", "::1/128", "::1"),
    ],
)
def test_ipv6(text: str, saved: str, listed: str) -> None:
    address = one(text, V6)
    assert format_saved(address.value, address.mask) == saved
    assert format_listed(address.value, address.mask) == listed


@pytest.mark.parametrize(
    ("text", "family", "message"),
    [
        ("example.org", V4, "host/network `example.org' not found"),
        ("::1", V4, "ip6tables takes this address"),
        ("10.0.0.1", V6, "iptables takes this address"),
        ("1.2.3.4/33", V4, "invalid mask `33' specified"),
        ("1.2.3.4/255.255.255", V4, "invalid mask"),
        ("::/129", V6, "invalid mask"),
        ("1.2.3.4/", V4, "invalid mask `'"),
        ("/24", V4, "host/network `' not found"),
        ("1.2.3.4,", V4, "host/network `' not found"),
        ("256.1.1.1", V4, "not found"),
        ("1.2.3.4.5", V4, "not found"),
        ("1..2.3", V4, "not found"),
        ("", V4, "not found"),
        ("١.2.3.4", V4, "not found"),
    ],
)
def test_refused(text: str, family: Family, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        parse_addresses(Word(text), family)


def test_several() -> None:
    made = parse_addresses(Word("1.2.3.4/8, 5.6.7.8"), V4)
    assert [format_saved(a.value, a.mask) for a in made] == ["1.0.0.0/8", "5.6.7.8/32"]
    with pytest.raises(RuleError, match="! not allowed with multiple"):
        parse_addresses(Word("1.2.3.4,5.6.7.8"), V4, inverted=True)


# Where `-s 10.1` is 10.1.0.0, options that go through getaddrinfo mean 10.0.0.1.
@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("10.1", "10.0.0.1"), ("10", "0.0.0.10"), ("10.1.256", "10.1.1.0"),
        ("0x7f.1", "127.0.0.1"), ("1.2.3.4", "1.2.3.4"), ("4294967295", "255.255.255.255"),
        ("4294967296", None),
        ("256.1", None), ("1.2.3.4.5", None), (" 1.2.3.4", None), ("", None), ("a", None),
    ],
)  # fmt: skip
def test_number_host(text: str, host: str | None) -> None:
    made = parse_number_host(text, V4)
    assert (None if made is None else format_host(made)) == host


@given(
    st.binary(min_size=16, max_size=16)
    | st.lists(st.sampled_from([0, 0, 1]), min_size=16, max_size=16).map(bytes)
)
def test_ipv6_is_written_as_inet_ntop(value: bytes) -> None:
    assert format_host(value) == socket.inet_ntop(socket.AF_INET6, value)


@given(st.integers(0, 128))
def test_prefix_length(length: int) -> None:
    assert prefix_length(ipaddress.IPv6Network(f"::/{length}").netmask.packed) == length


def test_mask_that_is_no_prefix() -> None:
    assert prefix_length(bytes([255, 0, 255, 0])) is None
    assert prefix_length(bytes([0, 0, 0, 1])) is None
