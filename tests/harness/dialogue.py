"""Real sockets on the firewall talking to a peer written by hand, frame by frame.

The kernel makes the firewall's packets, with the sockets that owner and state ask
about: listening, half open, open, waiting out their time, and none at all.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tests.harness import wire
from tests.harness.engines import Counts, Engine
from tests.harness.flows import ACK, FIN, PSH, RST, SYN
from tests.harness.netns import CLIENT
from tests.harness.pools import POOLS
from tests.harness.traffic import SO_MARK, Sender, Traffic, acting_as

#: What each packet is asked, by rules that let all through.
QUESTIONS = (
    "OUTPUT -m owner --uid-owner 1000",
    "OUTPUT -m owner ! --uid-owner 1000",
    "OUTPUT -m owner --gid-owner 7-1001",
    "OUTPUT -m owner --gid-owner 1000-1001 --suppl-groups",
    "OUTPUT -m owner ! --gid-owner 1000-1001 --suppl-groups",
    "OUTPUT -m owner --socket-exists",
    "OUTPUT -m owner ! --socket-exists",
    "OUTPUT -p tcp --syn -m owner --uid-owner 7",
    "OUTPUT -p tcp --tcp-flags ALL SYN,ACK -m owner --uid-owner 1000",
    "OUTPUT -p tcp --tcp-flags RST RST -m owner ! --uid-owner 1000",
    "OUTPUT -m state --state NEW",
    "OUTPUT -m conntrack --ctstate ESTABLISHED --ctdir REPLY",
    "OUTPUT -m mark --mark 0x10",
    "INPUT -m state --state NEW",
    "INPUT -m state --state ESTABLISHED",
    "INPUT -m state --state RELATED",
    "INPUT -m state --state INVALID",
    "INPUT -m conntrack --ctstatus SEEN_REPLY,ASSURED",
)


def rules() -> str:
    policies = [f":{name} ACCEPT [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")]
    return "\n".join(["*filter", *policies, *(f"-A {rule}" for rule in QUESTIONS), "COMMIT", ""])


@dataclass(slots=True)
class Peer:
    """A TCP peer on the client's wire: its port, the firewall's, and where both streams are."""

    traffic: Traffic
    version: int
    port: int
    to: int
    seq: int = 1000
    ack: int = 0

    @property
    def addresses(self) -> tuple[str, str]:
        """The peer's own, and the firewall's."""
        return POOLS[self.version].client[0], POOLS[self.version].local[0]

    def send(self, protocol: int, body: bytes) -> None:
        own, firewall = self.addresses
        raw = wire.with_checksum(protocol, wire.address(own), wire.address(firewall), body)
        if self.version == 4:
            kind, packet = wire.ETH_P_IP, wire.ipv4(own, firewall, protocol, raw)
        else:
            kind, packet = wire.ETH_P_IPV6, wire.ipv6(own, firewall, protocol, raw)
        self.traffic.send_frame(0, wire.ethernet(CLIENT.mac, CLIENT.peer_mac, kind, packet))

    def segment(self, flags: int, payload: bytes = b"") -> None:
        ack = self.ack if flags & ACK else 0
        self.send(
            wire.TCP,
            wire.tcp(self.port, self.to, flags, seq=self.seq, ack=ack, payload=payload),
        )
        self.seq += len(payload) + bool(flags & (SYN | FIN))

    def expect(self, flags: int) -> None:
        """Wait for a segment with these flags, and take note of where its stream has got."""
        at = 34 if self.version == 4 else 54
        for frame in self.traffic.frames(0):
            if len(frame) < at + 20 or frame[at - 11 if self.version == 4 else 20] != wire.TCP:
                continue
            sport, dport, seq = struct.unpack_from(">HHI", frame, at)
            if (sport, dport) == (self.to, self.port) and frame[at + 13] & flags == flags:
                size = len(frame) - at - (frame[at + 12] >> 4) * 4
                self.ack = (seq + size + bool(flags & (SYN | FIN))) % (1 << 32)
                return
        raise TimeoutError(f"no segment with flags {flags:#x} came")


@contextlib.contextmanager
def own_socket(
    traffic: Traffic, kind: int, version: int, owner: Sender
) -> Iterator[socket.socket]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with traffic.lab.firewall.entered(), acting_as(owner):
        made = socket.socket(family, kind)
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, SO_MARK, owner.mark)
        yield made


def serve(traffic: Traffic, version: int) -> None:
    """Have the firewall accept a connection, answer on it and close it first."""
    peer = Peer(traffic, version, port=40000, to=8080)
    owner = Sender(uid=1000, gid=1001)
    with own_socket(traffic, socket.SOCK_STREAM, version, owner) as listener:
        listener.bind(("", peer.to))
        listener.listen()
        listener.settimeout(5)
        peer.segment(SYN)
        peer.expect(SYN | ACK)
        peer.segment(ACK)
        with acting_as(owner):
            connection, _ = listener.accept()
        with connection:
            peer.segment(PSH | ACK, b"question")
            connection.settimeout(5)
            assert connection.recv(100) == b"question"
            connection.send(b"answer")
            peer.expect(PSH | ACK)
            peer.segment(ACK)
        peer.expect(FIN)
        peer.segment(FIN | ACK)
        peer.expect(ACK)  # from a socket that waits out its time
        peer.segment(ACK, b"late")
        peer.expect(ACK)
    stray = Peer(traffic, version, port=40001, to=8081)
    stray.segment(SYN)
    stray.expect(RST)
    stray.segment(0)  # no flags at all: of no connection there could be


def connect(traffic: Traffic, version: int) -> None:
    """Have the firewall open a connection that is accepted, and one that is refused."""
    owner = Sender(7, 7, mark=0x10, groups=(5, 1001))
    for port, flags in ((80, SYN | ACK), (443, RST | ACK)):
        peer = Peer(traffic, version, port=port, to=50000 + port)
        with own_socket(traffic, socket.SOCK_STREAM, version, owner) as opener:
            opener.setblocking(False)
            opener.bind(("", peer.to))
            with contextlib.suppress(BlockingIOError):
                opener.connect((peer.addresses[0], port))
            peer.expect(SYN)
            peer.segment(flags)
            if flags & SYN:
                peer.expect(ACK)
                peer.segment(RST | ACK)


def datagrams(traffic: Traffic, version: int) -> None:
    """Have the firewall answer a datagram, hear that this was not taken, and not take another."""
    peer = Peer(traffic, version, port=5353, to=53)
    with own_socket(traffic, socket.SOCK_DGRAM, version, Sender(uid=60000, gid=1000)) as taker:
        taker.bind(("", peer.to))
        taker.settimeout(5)
        peer.send(wire.UDP, wire.udp(peer.port, peer.to, b"question"))
        _, asker = taker.recvfrom(100)
        taker.sendto(b"answer", asker)
        answer = next(traffic.frames(0))[14:]
        if version == 4:
            peer.send(wire.ICMP, wire.icmp(3, 3, bytes(4) + answer))
        else:
            peer.send(wire.ICMPV6, wire.icmp(1, 4, bytes(4) + answer))
    peer.send(wire.UDP, wire.udp(peer.port, 9, b"to nobody"))
    traffic.settle()


def talk(engine: Engine, traffic: Traffic, version: int) -> Counts:
    """Go through all of the above with an engine asking QUESTIONS; give what it counted."""
    firewall = traffic.lab.firewall
    engine.apply(firewall, version, rules())
    traffic.drain()
    for scene in (serve, connect, datagrams):
        scene(traffic, version)
        traffic.settle()
        traffic.drain()
    return engine.counts(firewall, version)
