"""Values that rules and packets draw from together, so that rules often match.

The lab's addressing (see netns.py): the firewall has eth0 towards the client and
eth1 towards the server; on each side one on-link network and one behind a gateway.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses of one family: hosts on each side, and the firewall's kinds of address."""

    version: int
    client: tuple[str, ...]
    server: tuple[str, ...]
    local: tuple[str, ...]
    group: tuple[str, ...]  # broadcast and multicast, delivered locally
    odd: tuple[str, ...]  # blackholed, unreachable, prohibited, unrouted, unspecified
    nowhere: tuple[str, ...]  # those of them a packet from outside may go to

    @property
    def everything(self) -> tuple[str, ...]:
        return self.client + self.server + self.local + self.group + self.odd


V4 = Pool(
    4,
    client=("10.0.1.2", "10.0.1.77", "192.0.2.7", "192.0.2.130", "192.0.2.131"),
    server=("10.0.2.2", "10.0.2.200", "198.51.100.9", "198.51.100.10", "198.51.100.201"),
    local=("10.0.1.1", "10.0.2.1", "10.9.9.9"),
    group=("10.0.1.255", "10.0.2.255", "255.255.255.255", "224.0.0.1", "239.1.2.3"),
    odd=("203.0.113.5", "203.0.113.70", "203.0.113.140", "203.0.113.200", "8.8.8.8", "0.0.0.0"),
    nowhere=("203.0.113.5", "203.0.113.63", "0.0.0.0"),
)

#: MAC addresses packets come from; the first of each pair is also a gateway's.
CLIENT_MACS = ("02:00:00:00:01:02", "00:16:3e:01:02:03", "02:aa:bb:cc:dd:ee")
SERVER_MACS = ("02:00:00:00:02:02", "00:16:3e:04:05:06")
FIREWALL_MACS = ("02:00:00:00:01:01", "02:00:00:00:02:01")


def eui64(prefix: str, mac: str) -> str:
    """Give the address of `prefix` (a /64 ending in ::) made from a MAC, RFC 4291 appendix A."""
    raw = bytes.fromhex(mac.replace(":", ""))
    host = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return str(ip_address(ip_address(prefix).packed[:8] + host))


V6 = Pool(
    6,
    client=(
        "2001:db8:1::2",
        "2001:db8:1::77",
        "2001:db8:a::7",
        "2001:db8:a:1::8000:1",
        *(eui64("2001:db8:1::", mac) for mac in CLIENT_MACS[:2]),
    ),
    server=(
        "2001:db8:2::2",
        "2001:db8:2::200",
        "2001:db8:b::9",
        "2001:db8:b:ffff::a",
        eui64("2001:db8:2::", SERVER_MACS[0]),
    ),
    local=("2001:db8:1::1", "2001:db8:2::1", "2001:db8:9::9", "fe80::1"),
    group=("ff02::1", "ff02::2", "2001:db8:1::"),  # all nodes, all routers, an anycast address
    odd=("2001:db8:dead::5", "2001:db8:c::1", "fe80::77", "ff05::1234"),
    nowhere=("2001:db8:dead::5", "2001:db8:c::1", "ff05::1234"),
)

POOLS = {4: V4, 6: V6}

PORTS = (22, 53, 80, 443, 1024, 8080, 31337, 40000, 65535, 0, 1)
SPIS = (0, 1, 256, 1000, 0x12345678, 0xFFFFFFFF)
MARKS = (0, 1, 2, 0x10, 0xFF, 0x80000001)
UIDS = (0, 7, 1000, 60000)
GIDS = (0, 7, 1000, 1001)
TTLS = (1, 2, 63, 64, 65, 128, 255)
TOS = (0, 0x02, 0x08, 0x10, 0x28, 0x2B, 0xB8, 0xBA, 0xFF, 0x01, 0x03)
ICMP_TYPES = ((8, 0), (0, 0), (3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (13, 0), (42, 7))
ICMP6_TYPES = ((128, 0), (129, 0), (1, 0), (1, 4), (2, 0), (3, 0), (4, 1), (135, 0), (200, 9))
HOPS = ("2001:db8:b::9", "2001:db8:1::77")
FRAGMENT_IDS = (0, 1, 7, 0x1234, 0xFFFFFFFF)
LENGTHS = (20, 28, 40, 48, 60, 84, 100, 128, 256, 576)
INTERFACES = (
    ("eth0",) * 4 + ("eth1",) * 4 + ("br0", "br0", "lo", "lo", "eth+", "e+", "et", "eth00", "+")
)
TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")  # bit 0 upwards
TCP_OPTION_KINDS = (0, 1, 2, 3, 4, 5, 8, 34, 254)
DCCP_OPTION_KINDS = (1, 2, 32, 37, 128, 255)
SCTP_CHUNKS = {
    "DATA": 0,
    "INIT": 1,
    "INIT_ACK": 2,
    "SACK": 3,
    "HEARTBEAT": 4,
    "HEARTBEAT_ACK": 5,
    "ABORT": 6,
    "SHUTDOWN": 7,
    "SHUTDOWN_ACK": 8,
    "ERROR": 9,
    "COOKIE_ECHO": 10,
    "COOKIE_ACK": 11,
    "ECN_ECNE": 12,
    "ECN_CWR": 13,
    "SHUTDOWN_COMPLETE": 14,
    "ASCONF": 193,
    "ASCONF_ACK": 128,
    "FORWARD_TSN": 192,
}
DCCP_TYPES = (
    "REQUEST",
    "RESPONSE",
    "DATA",
    "ACK",
    "DATAACK",
    "CLOSEREQ",
    "CLOSE",
    "RESET",
    "SYNC",
    "SYNCACK",
)


def weighted(rng: random.Random, table: Sequence[tuple[float, T]]) -> T:
    """Draw one value of `table` by its weight."""
    return rng.choices([value for _, value in table], [weight for weight, _ in table])[0]
