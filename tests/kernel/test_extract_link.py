"""What the link layer says of a packet: the kernel's pkttype and eui64 matches are the judge.

Rules of the mangle table set bits of the packet mark, and the extractors run behind them.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator

import pytest

from bpfilter.plan import fields as f
from bpfilter.rules.model import Family, Hook
from tests.harness import wire
from tests.harness.header_reference import Fields
from tests.harness.netns import QUIET, Namespace
from tests.harness.pools import eui64
from tests.harness.recorder import Recorder

pytestmark = [pytest.mark.kernel, pytest.mark.e2e]

MAC, PEER = "02:00:00:00:01:01", "02:00:00:00:01:02"
TYPES = ("unicast", "broadcast", "multicast")  # 0, 1, 2 of include/uapi/linux/if_packet.h
IS_EUI64 = 1 << 3
MARK_EUI64 = f"-A PREROUTING -m eui64 -j MARK --or-mark {IS_EUI64}"
GROUP4, GROUP6 = "239.1.2.3", "ff0e::1234"


class Host:
    """A namespace with one Ethernet port, whose other end lies in another one."""

    def __init__(self) -> None:
        self.inside, self.outside = Namespace("link"), Namespace("linkwire")
        for namespace in (self.inside, self.outside):
            namespace.sysctl(QUIET)
        self.inside.ip(
            f"link add eth0 address {MAC} type veth peer name eth0 address {PEER} "
            f"netns {self.outside.name}",
            "address add 10.0.0.1/24 broadcast + dev eth0",
            "address add 2001:db8::1/64 dev eth0 nodad",
            "link set eth0 up",
            "link set lo up",
            "route add 224.0.0.0/4 dev eth0",
        )
        self.outside.ip("link set eth0 up")
        self.judge("iptables-legacy-restore")
        self.judge("ip6tables-legacy-restore")

    def judge(self, command: str, *more: str) -> None:
        """Have the kernel mark packets by their type, and by `more` rules."""
        rules = ["*mangle", ":PREROUTING ACCEPT", "-A PREROUTING -j MARK --set-mark 0"]
        for bit, name in enumerate(TYPES):
            rules.append(
                f"-A PREROUTING -m pkttype --pkt-type {name} -j MARK --or-mark {1 << bit}"
            )
        self.inside.run(command, stdin="\n".join([*rules, *more, "COMMIT"]) + "\n")

    def send(self, frames: list[bytes]) -> None:
        with self.outside.entered():
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sender:
            sender.bind(("eth0", 0))
            for frame in frames:
                sender.send(frame)

    def close(self) -> None:
        self.inside.close()
        self.outside.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


def destinations(group: bytes) -> tuple[str, ...]:
    return MAC, "ff:ff:ff:ff:ff:ff", group.hex(":"), MAC


def test_pkttype_ipv4(host: Host) -> None:
    rng = random.Random(4)
    body = wire.ipv4("10.0.0.2", "10.0.0.1", wire.UDP, wire.udp(1, 2, b""))
    frames = [
        wire.ethernet(rng.choice(destinations(b"\1\0\x5e\1\2\3")), PEER, wire.ETH_P_IP, body)
        for _ in range(200)
    ]
    with Recorder(host.inside, Family.IPV4, Hook.PREROUTING, (f.PKTTYPE, f.MARK)) as recorder:
        host.send(frames)
        found = recorder.take()
    assert len(found) == len(frames)
    assert {record["mark"] for record in found} == {1, 2, 4}
    for record in found:
        assert record["mark"] == 1 << record["pkttype"]


def looped(host: Host, family: socket.AddressFamily, group: str) -> None:
    """Send a datagram to a group the host is in itself: it comes back as PACKET_LOOPBACK."""
    with host.inside.entered():
        sender = socket.socket(family, socket.SOCK_DGRAM)
        index = socket.if_nametoindex("eth0")
    with sender:
        if family is socket.AF_INET:
            request = struct.pack("=4s4si", wire.address(group), bytes(4), index)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            sender.sendto(b"x", (group, 9))
        else:
            request = struct.pack("=16si", wire.address(group), index)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            sender.sendto(b"x", (group, 9, 0, index))


def records_to(found: list[Fields], group: str) -> list[Fields]:
    wanted = int.from_bytes(wire.address(group).ljust(16, b"\0"), "big")
    return [one for one in found if one["daddr"] == wanted]


def test_looped_multicast_ipv4(host: Host) -> None:
    asked = (f.PKTTYPE, f.MARK, f.DADDR)
    with Recorder(host.inside, Family.IPV4, Hook.PREROUTING, asked) as recorder:
        looped(host, socket.AF_INET, GROUP4)
        found = records_to(recorder.take(), GROUP4)
    assert [(one["pkttype"], one["mark"]) for one in found] == [(2, 4)]


def test_looped_multicast_ipv6(host: Host) -> None:
    """It comes in at an Ethernet device without an Ethernet header: eui64 drops it."""
    asked = (f.PKTTYPE, f.MARK, f.DADDR, f.EUI64_GUARD)
    with Recorder(host.inside, Family.IPV6, Hook.PREROUTING, asked) as recorder:
        looped(host, socket.AF_INET6, GROUP6)
        found = records_to(recorder.take(), GROUP6)
        assert [(one["pkttype"], one["mark"]) for one in found] == [(2, 4)]
        assert [one["eui64_guard"] for one in found] == [2]
        host.judge("ip6tables-legacy-restore", MARK_EUI64)
        looped(host, socket.AF_INET6, GROUP6)
        assert records_to(recorder.take(), GROUP6) == []


def test_looped_broadcast(host: Host) -> None:
    with Recorder(host.inside, Family.IPV4, Hook.PREROUTING, (f.PKTTYPE, f.MARK)) as recorder:
        with host.inside.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"x", ("10.0.0.255", 9))
        found = recorder.take()
    assert [(one["pkttype"], one["mark"]) for one in found] == [(1, 2)]


def test_eui64(host: Host) -> None:
    host.judge("ip6tables-legacy-restore", MARK_EUI64)
    rng = random.Random(64)
    frames = []
    for _ in range(600):
        mac = bytes([rng.choice((0, 2, 4, 0x16))]) + rng.randbytes(5)
        source = bytearray(wire.address(eui64("2001:db8::", mac.hex(":"))))
        if rng.random() < 0.6:
            source[rng.randrange(16)] ^= 1 << rng.randrange(8)
        body = wire.ipv6("::1", "2001:db8::1", wire.UDP, wire.udp(1, 2, b""))
        body = body[:8] + source + body[24:]
        frames.append(wire.ethernet(MAC, mac.hex(":"), wire.ETH_P_IPV6, body))
    asked = (f.EUI64, f.EUI64_GUARD, f.MARK)
    with Recorder(host.inside, Family.IPV6, Hook.PREROUTING, asked) as recorder:
        host.send(frames)
        found = recorder.take()
    assert len(found) == len(frames)
    assert {record["eui64"] for record in found} == {0, 1}
    for record in found:
        assert record["eui64_guard"] == 0
        assert record["eui64"] == bool(record["mark"] & IS_EUI64)


def test_eui64_asks_for_ethernet(host: Host) -> None:
    asked = (f.EUI64, f.EUI64_GUARD)
    with Recorder(host.inside, Family.IPV6, Hook.PREROUTING, asked) as recorder:
        with host.inside.entered():
            sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with sender:
            sender.sendto(b"x", ("::1", 9))
        found = recorder.take()
    assert {(one["eui64"], one["eui64_guard"]) for one in found} == {(0, 1)}
