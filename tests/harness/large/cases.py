"""Large rulesets for the lab, where both firewalls get the same packets (duel.py)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

import numpy as np

from tests.harness import wire
from tests.harness.duel import Case
from tests.harness.large.packets import Around, Drawer
from tests.harness.large.reference import Packets
from tests.harness.large.rules import HOOKS, prefix_mask
from tests.harness.large.themes import THEMES, Space, draw_ruleset
from tests.harness.netns import CLIENT, SERVER
from tests.harness.packets import SENDER_COUNT, Packet, Theme, Via, frame, random_packets
from tests.harness.pools import POOLS
from tests.harness.rules_gen import TRACKING, Knobs, random_surroundings

#: Themes whose rules take long to compile.
VARIED = ("no-two-alike", "many-large-chains", "everything")
#: Share of the packets that are drawn near the rules; the others are any, and connections.
NEAR = 0.75
NAMES = ("", "lo", "eth0", "eth1")


def _network(text: str) -> tuple[int, int]:
    network = ip_network(text)
    return int(network.network_address), network.prefixlen


def _host(text: str) -> tuple[int, int]:
    address = ip_address(text)
    return int(address), address.max_prefixlen


#: Networks behind the client and behind the server, and the firewall's own addresses.
ENDS = {
    4: (_network(CLIENT.v4_behind), _network(SERVER.v4_behind)),
    6: (_network(CLIENT.v6_behind), _network(SERVER.v6_behind)),
}
LOCAL = {version: tuple(map(_host, POOLS[version].local[:3])) for version in (4, 6)}
SPACES = {
    version: Space(
        (ENDS[version][0],) * 4 + (ENDS[version][1], LOCAL[version][0]),
        (ENDS[version][1],) * 4 + (ENDS[version][0], LOCAL[version][0]),
    )
    for version in (4, 6)
}


def large_case(seed: int, packets: int, knobs: Knobs | None = None) -> Case:
    """Draw a case; the same numbers give the same one."""
    rng = random.Random(f"large {seed}")
    version = 4 if seed % 2 == 0 else 6
    theme = rng.choice(THEMES)
    size = rng.randint(600, 800 if theme.name in VARIED else 3000)
    ruleset = draw_ruleset(theme, version, size, seed, SPACES[version])
    knobs = knobs or Knobs()
    if rng.random() < 0.5:
        knobs = replace(knobs, without=knobs.without | TRACKING)
    space = SPACES[version]
    around = Around(_within(space.sources, version), _within(space.destinations, version), NAMES)
    drawn = Drawer(ruleset, around, np.random.default_rng(seed)).draw(int(packets * NEAR))
    first = seed * packets & 0x3FFF_FFFF
    near: list[Packet] = []
    for at in range(len(drawn)):
        near += _sent(rng, drawn, at, first + len(near))
    others = random_packets(
        rng, version, packets - len(drawn), first + len(near), Theme(flows=0.5)
    )
    return Case(
        version,
        ruleset.text(),
        random_surroundings(rng, version, knobs),
        tuple(_mixed(rng, near[: len(drawn)], others)),
    )


def _mixed(rng: random.Random, *several: Sequence[Packet]) -> Iterator[Packet]:
    # in the order that each has
    turns = [number for number, packets in enumerate(several) for _ in packets]
    rng.shuffle(turns)
    left = [iter(packets) for packets in several]
    for turn in turns:
        yield next(left[turn])


def _within(spaces: tuple[tuple[int, int], ...], version: int) -> tuple[tuple[int, int], ...]:
    return tuple((value, prefix_mask(length, version)) for value, length in spaces)


def _sent(rng: random.Random, packets: Packets, at: int, number: int) -> Iterator[Packet]:
    """Have a packet come from where it can, and go where there is a way; some are answered."""
    version = packets.version
    data = bytearray(packets.data[at, : packets.length[at]].tobytes())
    ends = _addresses(version)
    source, destination = (int.from_bytes(data[end], "big") for end in ends)
    hook = HOOKS[packets.hook[at]]
    client, server = ENDS[version]
    reverse = _is_in(source, server, version) or rng.random() < 0.1
    near, far = (server, client) if reverse else (client, server)
    local = rng.choice(LOCAL[version])
    _put(data, ends[0], _into(source, local if hook == "OUTPUT" else near, version))
    _put(data, ends[1], _into(destination, local if hook == "INPUT" else far, version))
    via = Via.LOCAL if hook == "OUTPUT" else Via.SERVER if reverse else Via.CLIENT
    start = int(packets.upper.at[at]) if not packets.upper.fragment[at] else len(data)
    protocol = int(packets.upper.protocol[at])
    yield _packet(rng, version, via, _finished(data, protocol, start, number))
    if hook == "FORWARD" and protocol in (wire.TCP, wire.UDP) and rng.random() < 0.2:
        back = bytearray(data)
        back[ends[0]], back[ends[1]] = data[ends[1]], data[ends[0]]
        back[start : start + 4] = data[start + 2 : start + 4] + data[start : start + 2]
        via = Via.CLIENT if reverse else Via.SERVER
        yield _packet(rng, version, via, _finished(back, protocol, start, number + 1))


def _addresses(version: int) -> tuple[slice, slice]:
    return (slice(12, 16), slice(16, 20)) if version == 4 else (slice(8, 24), slice(24, 40))


def _packet(rng: random.Random, version: int, via: Via, data: bytes) -> Packet:
    if via is Via.LOCAL:
        return Packet(via, data, rng.randrange(SENDER_COUNT))
    to = _text(data[_addresses(version)[1]])
    return Packet(via, frame(rng, version, via, to, data, False))


def _text(address: bytes) -> str:
    return str(ip_address(address))


def _put(data: bytearray, where: slice, address: int) -> None:
    data[where] = address.to_bytes(where.stop - where.start, "big")


def _is_in(address: int, network: tuple[int, int], version: int) -> bool:
    value, length = network
    return address & prefix_mask(length, version) == value


def _into(address: int, network: tuple[int, int], version: int) -> int:
    value, length = network
    return value | address & ~prefix_mask(length, version)


def _finished(data: bytearray, protocol: int, start: int, number: int) -> bytes:
    """Fill in checksums, the length of UDP, and for IPv4 the identification."""
    version = data[0] >> 4
    source, destination = (bytes(data[end]) for end in _addresses(version))
    body = data[start:]
    if protocol == wire.UDP and len(body) >= 8:
        body[4:6] = len(body).to_bytes(2, "big")
    data[start:] = wire.with_checksum(protocol, source, destination, bytes(body))
    if version == 4:
        size = (data[0] & 15) * 4
        data[4:6] = ((number + 1) & 0xFFFF or 1).to_bytes(2, "big")
        data[10:12] = b"\0\0"
        data[10:12] = wire.checksum(bytes(data[:size])).to_bytes(2, "big")
    return bytes(data)
