"""Address types from a simulated routing table, against a plain search through its routes."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

import pytest

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules.model import Hook
from bpfilter.simulate import headers
from bpfilter.simulate.facts import MissingFactError
from bpfilter.simulate.packet import Surroundings
from bpfilter.simulate.routes import LocalAddress, Route, local_routes, parse_local
from tests.unit.simulate.support import V6, places, simulator

TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST")
PING = "icmp 192.0.2.7 > 192.0.2.1"


def test_addresses_are_read() -> None:
    assert parse_local("192.0.2.1") == LocalAddress(0xC0000201)
    assert parse_local("192.0.2.1/24") == LocalAddress(0xC0000201, 24)
    assert parse_local("192.0.2.1/255.255.255.0%eth0") == LocalAddress(0xC0000201, 24, "eth0")


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.1/33", "2001:db8::1", "x%eth0"])
def test_what_is_no_address_is_said_so(text: str) -> None:
    with pytest.raises(RuleSyntaxError, match="not an IPv4 ADDRESS"):
        parse_local(text)


def test_table_is_what_the_kernel_makes_of_addresses() -> None:
    # `ip route show table local` after `ip addr add 192.0.2.1/24 dev eth0`, 10.0.0.1/32, /31
    texts = ("192.0.2.1/24%eth0", "10.0.0.1/32%eth1", "10.1.0.0/31%eth1")
    routes = local_routes([parse_local(text) for text in texts])
    shown = {(str(IPv4Address(one.key)), 32 - one.slen, one.kind, one.device) for one in routes}
    assert shown == {
        ("127.0.0.0", 8, 2, "lo"),
        ("127.0.0.1", 32, 2, "lo"),
        ("127.255.255.255", 32, 3, "lo"),
        ("192.0.2.1", 32, 2, "eth0"),
        ("192.0.2.255", 32, 3, "eth0"),
        ("10.0.0.1", 32, 2, "eth1"),
        ("10.1.0.0", 32, 2, "eth1"),
    }


def test_of_two_routes_to_one_address_the_first_is_found() -> None:
    first, second = parse_local("10.0.0.1/24"), parse_local("10.0.0.255/16")
    for addresses, kind in (((first, second), 3), ((second, first), 2)):
        found = [one for one in local_routes(addresses) if one.key == 0x0A0000FF]
        assert [one.kind for one in found] == [kind]


def expected_type(routes: list[Route], address: int, device: str = "") -> str:
    """inet_dev_addr_type(), with a search through all routes for the longest prefix."""
    if address in (0, 0xFFFF_FFFF):
        return "BROADCAST"
    if address >> 28 == 0xE:
        return "MULTICAST"
    fitting = [one for one in routes if (one.key ^ address) >> one.slen == 0]
    found = min(fitting, key=lambda one: one.slen, default=None)
    if found is None or (device and found.device != device):
        return "UNICAST"
    return TYPES[found.kind]


def drawn_addresses(rng: random.Random) -> list[LocalAddress]:
    base = rng.randrange(1 << 28)
    drawn = []
    for _ in range(rng.randint(0, 9)):
        address = (base ^ rng.randrange(1 << rng.choice((2, 4, 8, 16, 28)))) & 0xDFFF_FFFF
        length = rng.choice((0, 1, 8, 16, 23, 24, 28, 30, 31, 32))
        drawn.append(LocalAddress(address, length, rng.choice(("eth0", "eth1"))))
    return drawn


@pytest.mark.parametrize("seed", range(12))
def test_every_address_has_the_type_of_its_longest_prefix(seed: int) -> None:
    rng = random.Random(seed)
    local = drawn_addresses(rng)
    routes = local_routes(local)
    sim = simulator(
        *(f"-A INPUT -m addrtype --dst-type {name}" for name in TYPES),
        *(f"-A INPUT -m addrtype --src-type {name} --limit-iface-in" for name in TYPES),
        local=local,
    )
    around = Surroundings("eth0")
    near = [0, 1, 0x7F000001, 0x7F0000FF, 0x7FFFFFFF, 0x80000000, 0xE0000001, 0xFFFFFFFF]
    for one in routes:
        near += [one.key, one.key + 1, one.key - 1, one.key ^ 1 << rng.randrange(32)]
    for _ in range(60):
        source, destination = (rng.choice(near) & 0xFFFF_FFFF for _ in range(2))
        ends = [address.to_bytes(4, "big") for address in (source, destination)]
        packet = headers.ipv4(ends[0], ends[1], 1, b"")
        wanted = [
            1 + TYPES.index(expected_type(routes, destination)),
            7 + TYPES.index(expected_type(routes, source, "eth0")),
        ]
        result = sim.run(packet, Hook.INPUT, around=around)
        assert [step.number for step in result.path] == [*wanted, 0], (local, packet)


def test_addresses_must_be_told() -> None:
    sim = simulator("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT")
    with pytest.raises(MissingFactError, match="--local ADDRESS/LENGTH for each"):
        sim.run(PING, in_interface="eth0")
    assert places(sim.run(PING, out_interface="eth0")) == ["OUTPUT 0"]
    told = simulator("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT", local=())
    assert places(told.run(PING, in_interface="eth0")) == ["INPUT 0"]


def test_limits_need_devices() -> None:
    rule = "-A INPUT -m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT"
    with pytest.raises(MissingFactError, match="ADDRESS/LENGTH%DEVICE"):
        simulator(rule, local=[parse_local("192.0.2.1")]).run(PING, in_interface="eth0")
    sim = simulator(rule, local=[parse_local("192.0.2.1%eth0")])
    assert places(sim.run(PING, in_interface="eth0")) == ["INPUT 1"]
    assert places(sim.run(PING, in_interface="eth1")) == ["INPUT 0"]


def test_ipv6_types_need_no_table() -> None:
    sim = simulator("-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT", family=V6)
    assert places(sim.run("icmpv6 ::1 > ff02::1", in_interface="eth0")) == ["INPUT 1"]
