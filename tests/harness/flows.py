"""Random connections, packet by packet from both ends, for what connection tracking makes of them.

No end has a protocol stack: both sides' packets are written here, so that a
connection goes the same way each time, in order or out of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.harness import wire
from tests.harness.pools import POOLS, PORTS, TOS, weighted

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

#: A TCP connection: who sends (0 the opener), flags, bytes of payload.
CONVERSATION = (
    (0, SYN, 0),
    (1, SYN | ACK, 0),
    (0, ACK, 0),
    (0, PSH | ACK, 10),
    (1, ACK, 0),
    (1, PSH | ACK, 20),
    (0, ACK, 0),
    (0, FIN | ACK, 0),
    (1, FIN | ACK, 0),
    (0, ACK, 0),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One packet of a connection: the end it comes from, where it goes, and its bytes."""

    end: str  # "client", "server" or "local"
    destination: str
    data: bytes


@dataclass(slots=True)
class Flow:
    """Two ends of a connection and what was sent so far."""

    rng: random.Random
    version: int
    ends: tuple[str, str]
    addresses: tuple[str, str]
    number: int
    tos: int
    steps: list[Step] = field(default_factory=list)

    def send(self, who: int, protocol: int, body: bytes) -> None:
        source, destination = self.addresses[who], self.addresses[1 - who]
        self.emit(self.ends[who], source, destination, protocol, body)

    def emit(self, end: str, source: str, destination: str, protocol: int, body: bytes) -> None:
        body = wire.with_checksum(protocol, wire.address(source), wire.address(destination), body)
        if self.version == 4:
            ident = (self.number * 16 + len(self.steps)) & 0x7FFF | 0x8000
            data = wire.ipv4(source, destination, protocol, body, tos=self.tos, ident=ident)
        else:
            data = wire.ipv6(source, destination, protocol, body, traffic_class=self.tos)
        self.steps.append(Step(end, destination, data))

    def error_about_last(self) -> None:
        """Have a router beyond the last packet's destination say that it did not arrive."""
        last = self.steps[-1]
        end = self.ends[1 - self.ends.index(last.end)]
        router = self.rng.choice(self.hosts(end))
        source = self.addresses[self.ends.index(last.end)]
        if self.version == 4:
            kind, code = self.rng.choice(((3, 0), (3, 1), (3, 13), (11, 0), (12, 0)))
            body = wire.icmp(kind, code, bytes(4) + last.data[:28])
            self.emit(end, router, source, wire.ICMP, body)
        else:
            kind, code = self.rng.choice(((1, 0), (1, 4), (3, 0), (4, 1)))
            body = wire.icmp(kind, code, bytes(4) + last.data[:88])
            self.emit(end, router, source, wire.ICMPV6, body)

    def hosts(self, end: str) -> tuple[str, ...]:
        pool = POOLS[self.version]
        return {"client": pool.client, "server": pool.server, "local": pool.local[:3]}[end]


def random_flow(rng: random.Random, version: int, number: int) -> list[Step]:
    """Draw a connection between two of client, server and firewall."""
    ends = weighted(
        rng,
        [
            (5, ("client", "server")),
            (2, ("server", "client")),
            (2, ("client", "local")),
            (2, ("local", "server")),
        ],
    )
    pool = POOLS[version]
    hosts = {"client": pool.client, "server": pool.server, "local": pool.local[:3]}
    addresses = rng.choice(hosts[ends[0]]), rng.choice(hosts[ends[1]])
    flow = Flow(rng, version, ends, addresses, number, rng.choice(TOS))
    while not flow.steps:
        weighted(rng, [(5, tcp), (3, udp), (2, echo), (0.5, nameless)])(flow)
    return flow.steps


def tcp(flow: Flow) -> None:
    """Send a conversation, of which some steps may be lost, repeated or out of place."""
    rng = flow.rng
    ports = rng.choice(PORTS), rng.choice(PORTS)
    at = [rng.randrange(1 << 32), rng.randrange(1 << 32)]
    for who, flags, size in CONVERSATION[: rng.choice((1, 2, 3, 6, 10, 10))]:
        seq, ack = at[who], at[1 - who] if flags & ACK else 0
        at[who] = (at[who] + size + bool(flags & (SYN | FIN))) % (1 << 32)
        trouble = rng.random()
        if trouble < 0.06:
            continue
        if trouble < 0.10:
            seq = (seq + 0x40000000) % (1 << 32)  # far out of the window
        elif trouble < 0.12:
            flags = rng.choice((RST, SYN, FIN | SYN, 0, RST | ACK))
        segment = wire.tcp(
            ports[who], ports[1 - who], flags, seq=seq, ack=ack, payload=bytes(size)
        )
        for _ in range(2 if trouble > 0.96 else 1):
            flow.send(who, wire.TCP, segment)
        if rng.random() < 0.05:
            flow.error_about_last()


def udp(flow: Flow) -> None:
    rng = flow.rng
    ports = rng.choice(PORTS[:-2]), rng.choice(PORTS[:-2])
    for turn in range(rng.choice((1, 2, 2, 4, 6))):
        who = turn % 2
        body = wire.udp(ports[who], ports[1 - who], bytes(rng.choice((0, 12, 60))))
        flow.send(who, wire.UDP, body)
        if rng.random() < 0.15:
            flow.error_about_last()


def echo(flow: Flow) -> None:
    rng = flow.rng
    protocol, kinds = (wire.ICMP, (8, 0)) if flow.version == 4 else (wire.ICMPV6, (128, 129))
    ident = rng.randrange(65536)
    for turn in range(rng.choice((1, 2, 2, 4))):
        rest = ident.to_bytes(2, "big") + (turn // 2).to_bytes(2, "big") + bytes(32)
        flow.send(turn % 2, protocol, wire.icmp(kinds[turn % 2], 0, rest))
        if rng.random() < 0.1:
            flow.error_about_last()


def nameless(flow: Flow) -> None:
    """Use a protocol connection tracking knows only by its addresses."""
    for turn in range(flow.rng.choice((1, 2, 3))):
        flow.send(turn % 2, 253, bytes(20))
