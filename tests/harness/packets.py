"""Random packets for the lab: bytes to send, and where from. The same seed gives the same bytes.

A packet carries its number in its payload when there is room, so that one seen at
the other end can be told from the rest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from tests.harness import wire
from tests.harness.flows import Step, random_flow
from tests.harness.netns import CLIENT, SERVER, SIDES
from tests.harness.packets6 import random_ipv6
from tests.harness.pools import CLIENT_MACS, POOLS, SERVER_MACS, TOS, TTLS, Pool, weighted
from tests.harness.transport import V4_PROTOCOLS, V6_PROTOCOLS, transport


class Via(Enum):
    """Where a packet enters: a frame on one of the firewall's links, or a local socket."""

    CLIENT = "client"
    SERVER = "server"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Packet:
    """`data` is an Ethernet frame, or for LOCAL an IP packet written to raw socket `sender`."""

    via: Via
    data: bytes
    sender: int = 0


#: How many raw sockets LOCAL packets are spread over (traffic.SENDERS).
SENDER_COUNT = 6


def token(number: int) -> bytes:
    return b"#" + number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Theme:
    """What a case is mostly about, rules and packets alike, so that they meet often."""

    protocol: int | None = None
    flows: float = 0.05  # share of the packets that belong to connections
    bridged: bool = False  # to the far side's stations, past the firewall's own routing


ANY_THEME = Theme()


def random_packets(
    rng: random.Random, version: int, count: int, first_number: int = 0, theme: Theme = ANY_THEME
) -> tuple[Packet, ...]:
    """Draw packets: single ones, and connections mixed in among them, in order."""
    made: list[Packet] = []
    open_flows: list[list[Step]] = []
    while len(made) < count:
        number = first_number + len(made)
        if rng.random() < theme.flows:
            if len(open_flows) < 4:
                open_flows.append(random_flow(rng, version, number))
            step = rng.choice(open_flows).pop(0)
            made.append(of_flow(rng, version, step, theme.bridged))
            open_flows = [flow for flow in open_flows if flow]
        else:
            made.append(random_packet(rng, version, number, theme))
    return tuple(made)


def of_flow(rng: random.Random, version: int, step: Step, bridged: bool) -> Packet:
    via = Via(step.end)
    if via is Via.LOCAL:
        return Packet(via, step.data, rng.randrange(SENDER_COUNT))
    return Packet(via, frame(rng, version, via, step.destination, step.data, bridged))


def random_packet(
    rng: random.Random, version: int, number: int, theme: Theme = ANY_THEME
) -> Packet:
    """Draw one packet, most often what the theme is about."""
    protocol = theme.protocol
    if protocol is None or rng.random() < 0.25:
        protocol = weighted(rng, V4_PROTOCOLS if version == 4 else V6_PROTOCOLS)
    pool = POOLS[version]
    via = weighted(rng, [(5, Via.CLIENT), (3, Via.SERVER), (3, Via.LOCAL)])
    source, destination = endpoints(rng, pool, via)
    payload = token(number) + bytes(rng.choice((0, 0, 0, 1, 7, 32, 100, 400)))
    if version == 4:
        data = random_ipv4(rng, source, destination, protocol, payload, number)
    else:
        data = random_ipv6(rng, source, destination, protocol, payload, number)
    if via is Via.LOCAL:
        return Packet(via, data, rng.randrange(SENDER_COUNT))
    return Packet(via, frame(rng, version, via, destination, data, theme.bridged))


def endpoints(rng: random.Random, pool: Pool, via: Via) -> tuple[str, str]:
    """Draw addresses that mostly make sense for where the packet enters.

    What may arrive from outside is limited to what the firewall answers at once or
    not at all: IPv4 tells of unreachable networks, and IPv6 of better routes, no
    more than so often per second and peer, whatever the settings.
    """
    near, far = (pool.client, pool.server) if via is Via.CLIENT else (pool.server, pool.client)
    if via is Via.LOCAL:
        source = rng.choice(pool.local[:3])
        destination = rng.choice(
            weighted(rng, [(4, near), (4, far), (2, pool.local[:3]), (1, pool.odd)])
        )
        return source, destination
    source = rng.choice(weighted(rng, [(12, near), (1, pool.odd), (1, far), (0.3, pool.local)]))
    destination = rng.choice(
        weighted(rng, [(6, far), (4, pool.local), (1.5, pool.group), (1, pool.nowhere)])
    )
    return source, destination


def frame(
    rng: random.Random, version: int, via: Via, destination: str, data: bytes, bridged: bool
) -> bytes:
    """Wrap an IP packet in Ethernet as its sender would, or now and then otherwise."""
    side, macs = (SIDES[0], CLIENT_MACS) if via is Via.CLIENT else (SIDES[1], SERVER_MACS)
    to = side.mac
    if bridged and destination not in POOLS[version].local:
        to = (SERVER if via is Via.CLIENT else CLIENT).peer_mac
    if destination in POOLS[version].group and rng.random() < 0.8:
        to = group_mac(destination)
    elif rng.random() < 0.06:
        to = rng.choice(("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:99:99:99:99:99"))
    kind = wire.ETH_P_IP if version == 4 else wire.ETH_P_IPV6
    made = wire.ethernet(to, rng.choice(macs), kind, data)
    if rng.random() < 0.04:
        return wire.tagged(made, rng.choice((0, 0, 0x6000, 0xE000, 5)))
    return made


def group_mac(destination: str) -> str:
    raw = wire.address(destination)
    if len(raw) == 16:
        mac = b"\x33\x33" + raw[12:] if raw[0] == 0xFF else wire.mac(SIDES[0].mac)
    elif raw[0] >> 4 == 0xE:
        mac = b"\x01\x00\x5e" + bytes([raw[1] & 0x7F]) + raw[2:]
    else:
        mac = b"\xff" * 6
    return mac.hex(":")


def random_ipv4(
    rng: random.Random, source: str, destination: str, protocol: int, payload: bytes, number: int
) -> bytes:
    body = transport(rng, protocol, payload)
    if rng.random() < 0.95:
        body = wire.with_checksum(protocol, wire.address(source), wire.address(destination), body)
    offset, flags, length, words, version = 0, rng.choice((0, 0, 2)), None, None, 4
    shape = rng.random()
    if shape < 0.10:
        body = body[: rng.randrange(len(body) + 1)]  # truncated, honestly
    elif shape < 0.22:
        offset, flags, body = fragment(rng, body)
    elif shape < 0.24:
        length = rng.choice((0, 19, 20, 21, 28, 40, 65535, 20 + len(body) // 2))
    elif shape < 0.25:
        words = rng.choice((0, 4, 6, 15))
    elif shape < 0.253:
        version = 5
    packet = wire.ipv4(
        source,
        destination,
        protocol,
        body,
        ttl=rng.choice(TTLS) if rng.random() < 0.8 else rng.randrange(256),
        tos=rng.choice(TOS),
        ident=(number + 1) & 0xFFFF or 1,
        offset=offset,
        flags=flags,
        options=ip_options(rng) if rng.random() < 0.12 else b"",
        length=length,
        header_words=words,
        version=version,
    )
    if rng.random() < 0.01:
        packet = wire.put16(packet, 10, rng.randrange(65536))
    return packet


def fragment(rng: random.Random, body: bytes) -> tuple[int, int, bytes]:
    """Give offset (8 bytes), flags and content of one fragment; some overlap the header."""
    kind = rng.randrange(5)
    if kind == 0:  # first
        return 0, 1, body[: rng.choice((8, 16, 24, 40))]
    if kind == 1:  # first, too short for its header
        return 0, 1, body[:8]
    if kind == 2:  # what offset 1 would overwrite in a TCP header
        return 1, rng.randrange(2), body[8:]
    if kind == 3:
        return rng.choice((2, 3, 5, 100)), rng.randrange(2), body[16:]
    return rng.choice((185, 1000, 8000, 8191)), 0, body[:5]


def ip_options(rng: random.Random) -> bytes:
    """Draw IPv4 options: some that routers know, no-ops, unknown and broken ones."""
    return rng.choice(
        (
            b"\x94\x04\0\0",
            b"\x07\x07\x04\0\0\0\0",
            b"\x44\x08\x09\0time",  # full: a router only counts that it had no room
            b"\x01\x01\x01\x01",
            b"\x01" * 40,
            b"\x99\x04ab",
            b"\x88\x03\0",
            b"\x83\x03\x04",
        )
    )
