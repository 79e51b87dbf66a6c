"""The packets the differential test sends are what they are meant to be: scapy reads them."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1Q, Ether

from tests.harness import wire
from tests.harness.duel import Case, random_case
from tests.harness.flows import random_flow
from tests.harness.packets import Via
from tests.harness.pools import POOLS

V4 = "192.0.2.7", "198.51.100.9"
V6 = "2001:db8:a::7", "2001:db8:b::9"


def whole(protocol: int, body: bytes, addresses: tuple[str, str]) -> bytes:
    source, destination = addresses
    return wire.with_checksum(protocol, wire.address(source), wire.address(destination), body)


def rebuilt(packet: object, *layers: str) -> bytes:
    """Have scapy compute again the lengths and checksums of a packet it has read."""
    for layer in layers:
        for name in ("chksum", "cksum", "len", "plen", "ihl", "dataofs"):
            if name in packet[layer].fields:  # type: ignore[index]  # scapy is untyped
                delattr(packet[layer], name)  # type: ignore[index]
    return bytes(packet)  # type: ignore[call-overload,no-any-return]


def test_ipv4_tcp() -> None:
    segment = wire.tcp(40000, 22, 0x12, seq=7, ack=9, options=b"\x02\x04\x05\xb4", payload=b"odd")
    data = wire.ipv4(*V4, wire.TCP, whole(wire.TCP, segment, V4), ttl=3, tos=0x28, ident=5)
    packet = IP(data)
    assert (packet.src, packet.dst, packet.ttl, packet.tos, packet.id) == (*V4, 3, 0x28, 5)
    assert (packet[TCP].sport, packet[TCP].dport, packet[TCP].seq) == (40000, 22, 7)
    assert (str(packet[TCP].flags), packet[TCP].options) == ("SA", [("MSS", 1460)])
    assert rebuilt(packet, "IP", "TCP") == data


def test_ipv4_options_and_fragment() -> None:
    data = wire.ipv4(*V4, wire.ICMP, b"x" * 8, options=b"\x94\x04\0\0", offset=3, flags=1)
    packet = IP(data)
    assert (packet.ihl, packet.frag, str(packet.flags), packet.len) == (6, 3, "MF", 32)
    assert rebuilt(packet, "IP") == data


def test_ipv4_icmp_and_udp() -> None:
    for protocol, layer, body in (
        (wire.ICMP, "ICMP", wire.icmp(8, 0, b"\0\1\0\2abc")),
        (wire.UDP, "UDP", wire.udp(53, 1024, b"question")),
    ):
        data = wire.ipv4(*V4, protocol, whole(protocol, body, V4))
        assert rebuilt(IP(data), "IP", layer) == data
    assert IP(wire.ipv4(*V4, wire.ICMP, wire.icmp(3, 4, bytes(4))))[ICMP].code == 4


def test_ipv6_extension_headers() -> None:
    body = whole(wire.UDP, wire.udp(53, 1024, b"question"), V6)
    body = wire.fragment_header(wire.UDP, 0, False, 0x12345678) + body
    body = wire.options_header(wire.FRAGMENT, b"\x1e\x04abcd") + body
    body = wire.routing_header(wire.DSTOPTS, 0, 1, bytes(4) + wire.address(V6[1])) + body
    body = wire.options_header(wire.ROUTING, b"\x05\x02\0\0") + body
    packet = IPv6(wire.ipv6(*V6, wire.HOPOPTS, body, hop_limit=3, traffic_class=0xB8, flow=5))
    assert (packet.src, packet.dst, packet.hlim, packet.tc, packet.fl) == (*V6, 3, 0xB8, 5)
    assert packet.plen == len(body)
    chain = (IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, UDP)
    assert all(layer in packet for layer in chain)
    assert packet[IPv6ExtHdrFragment].id == 0x12345678
    assert packet[IPv6ExtHdrRouting].addresses == [V6[1]]


def test_ipv6_checksums() -> None:
    for protocol, layer, body in (
        (wire.TCP, "TCP", wire.tcp(1, 2, 0x10)),
        (wire.UDP, "UDP", wire.udp(1, 2, b"abc")),
        (wire.ICMPV6, "ICMPv6EchoRequest", wire.icmp(128, 0, b"\0\1\0\2abc")),
    ):
        data = wire.ipv6(*V6, protocol, whole(protocol, body, V6))
        assert rebuilt(IPv6(data), layer) == data


def test_a_tag_goes_before_the_type() -> None:
    frame = wire.ethernet("02:00:00:00:00:01", "02:00:00:00:00:02", wire.ETH_P_IP, b"data")
    packet = Ether(wire.tagged(frame, 0xE005))
    assert (packet[Dot1Q].prio, packet[Dot1Q].vlan, packet[Dot1Q].type) == (7, 5, wire.ETH_P_IP)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_gives_the_same_case(seed: int) -> None:
    case = random_case(seed, 50)
    assert case == random_case(seed, 50)
    assert case != random_case(seed + 2, 50)
    assert Case.from_json(case.to_json()) == case
    assert len(case.packets) == 50


def test_a_connection_comes_from_both_ends() -> None:
    rng = random.Random(1)
    for version, pool in POOLS.items():
        ends = {step.end for _ in range(50) for step in random_flow(rng, version, 0)}
        assert ends == {via.value for via in Via}
        assert pool.version == version
