"""Real conversations over sockets, in lock step, so that the same packets flow each time.

One thread plays both ends: what one end sends is waited for at the other before the
next step. A peer's kernel acknowledges each segment at once (`quickack` routes) and sends
nothing twice (`rto_min`, no loss probes), so how many packets pass does not depend on
how fast this machine is. If one was sent twice all the same, or came after its
waiting time, `disturbed` says so, and the counts are worth nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import wire
from tests.harness.netns import Namespace

#: How long an answer may take before it counts as none; a SYN is repeated after 1 s.
WAIT_S = 0.12
#: How long the second half of what has begun may take.
PATIENCE_S = 2.0

IP_RECVERR = 11
IP_TRANSPARENT = 19  # include/uapi/linux/in.h
IPV6_RECVERR = 25
IPV6_TRANSPARENT = 75  # include/uapi/linux/in6.h
ECHO = {4: (8, 0), 6: (128, 129)}  # request and reply
PIECE = 1400  # fits one segment of either family

NO_ANSWER = "no answer"
#: Written into each namespace, so that TCP sends as written above.
STEADY: dict[str, int | str] = {
    "ipv4/tcp_early_retrans": 0,
    "ipv4/tcp_recovery": 0,
    "ipv4/tcp_rto_min_us": 10_000_000,
    "ipv4/tcp_no_metrics_save": 1,
    "ipv4/ping_group_range": "0 0",
}
STEADY_ROUTE = ("quickack", "1", "rto_min", "10s")


def steady(namespace: Namespace) -> None:
    """Have a namespace's TCP acknowledge at once and repeat nothing."""
    namespace.sysctl(STEADY)
    for family in ("-4", "-6"):
        for line in namespace.run("ip", family, "route", "show").splitlines():
            if " dev eth" in line:
                namespace.run("ip", family, "route", "change", *line.split(), *STEADY_ROUTE)


@dataclass(frozen=True, slots=True)
class Host:
    """An address of each family, in a namespace."""

    name: str
    namespace: Namespace
    v4: str
    v6: str

    def address(self, version: int) -> str:
        return self.v4 if version == 4 else self.v6


@dataclass(slots=True)
class Traffic:
    """Conversations of one IP version; each gives its outcome in a few words."""

    version: int
    namespaces: tuple[Namespace, ...]
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _listeners: dict[tuple[str, int, int], socket.socket] = field(default_factory=dict)
    _unanswered: list[socket.socket] = field(default_factory=list)
    _ports: Iterator[int] = field(default_factory=lambda: itertools.count(40_000))
    _repeated_before: int = 0

    def __enter__(self) -> Traffic:
        self._repeated_before = self._repeated()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # Conversations

    def tcp(self, client: Host, server: Host, port: int, pieces: int = 1) -> str:
        """Connect, ask for so many pieces of data one by one, close."""
        listener = self._listener(server, port, socket.SOCK_STREAM)
        with self._open(client, socket.SOCK_STREAM) as asking:
            outcome = self._connect(asking, server, port)
            if outcome:
                return outcome
            listener.settimeout(PATIENCE_S)
            answering, _ = listener.accept()
            with answering:
                return _transfer(asking, answering, pieces)

    def tcp_closed(self, client: Host, server: Host, port: int) -> str:
        """Connect to a port nobody listens on."""
        with self._open(client, socket.SOCK_STREAM) as asking:
            return self._connect(asking, server, port) or "connected"

    def tcp_segment(self, client: Host, server: Host, port: int, flags: int) -> str:
        """Send one segment with odd flags, of no connection, as port scanners do."""
        segment = wire.tcp(next(self._ports), port, flags, window=1024)
        return self._raw(client, server, wire.TCP, segment)

    def echo_reply(self, client: Host, server: Host) -> str:
        """Send the answer to a ping that nobody sent."""
        protocol = wire.ICMP if self.version == 4 else wire.ICMPV6
        return self._raw(client, server, protocol, wire.icmp(ECHO[self.version][1], 0, bytes(64)))

    def udp(self, client: Host, server: Host, port: int, rounds: int = 1) -> str:
        """Ask and answer by datagrams."""
        listener = self._listener(server, port, socket.SOCK_DGRAM)
        asking = self._stack.enter_context(self._open(client, socket.SOCK_DGRAM))
        asking.connect((server.address(self.version), port))
        for number in range(rounds):
            question = b"%d" % number * 40
            try:
                asking.send(question)
            except PermissionError:
                return "not permitted"
            if not _readable(listener):
                self._unanswered.append(listener)
                return NO_ANSWER
            _, peer = listener.recvfrom(2048)
            listener.sendto(question * 2, peer)
            if self._answer(asking) is None:
                return NO_ANSWER
        return f"{rounds} answered"

    def udp_closed(self, client: Host, server: Host, port: int, hops: int = 64) -> str:
        """Send a datagram nobody waits for; at the last of `hops` routers it ends."""
        with self._open(client, socket.SOCK_DGRAM) as asking:
            if self.version == 4:
                asking.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
                asking.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            else:
                asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
                asking.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            asking.connect((server.address(self.version), port))
            asking.send(b"anybody?")
            if not _readable(asking):
                return NO_ANSWER
            return {111: "port unreachable", 113: "time exceeded"}.get(_error(asking), "an error")

    def udp_spoofed(self, client: Host, pretended: Host, server: Host, port: int) -> str:
        """Send a datagram under another host's address."""
        listener = self._listener(server, port, socket.SOCK_DGRAM)
        with client.namespace.entered():
            sender = socket.socket(self._family, socket.SOCK_DGRAM)
        with sender:
            if self.version == 4:
                sender.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            else:
                sender.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            sender.bind((pretended.address(self.version), next(self._ports)))
            sender.sendto(b"it is me", (server.address(self.version), port))
            if _readable(listener):
                listener.recv(2048)
                return "arrived"
            self._unanswered.append(listener)
            return NO_ANSWER

    def ping(self, client: Host, server: Host, count: int = 1, size: int = 56) -> str:
        """Send echo requests; those too large for one packet go in fragments."""
        request, reply = ECHO[self.version]
        if self.version == 4:
            reply = 0
        protocol = socket.IPPROTO_ICMP if self.version == 4 else socket.IPPROTO_ICMPV6
        asking = self._stack.enter_context(self._open(client, socket.SOCK_DGRAM, protocol))
        asking.connect((server.address(self.version), 0))
        for number in range(count):
            asking.send(struct.pack(">BBHHH", request, 0, 0, 0, number + 1) + bytes(size))
            answer = self._answer(asking)
            if answer is None:
                return NO_ANSWER
            assert answer[0] == reply
        return f"{count} answered"

    def disturbed(self) -> str:
        """Say what makes the counts of this run worth nothing; empty if nothing does."""
        if self._repeated() != self._repeated_before:
            return "TCP sent a segment again"
        waiting = [*self._unanswered, *self._listeners.values()]
        if select.select(waiting, [], [], 0)[0]:
            return "a packet came after its time"
        return ""

    # Below: sockets

    @property
    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.version == 4 else socket.AF_INET6

    def _raw(self, client: Host, server: Host, protocol: int, body: bytes) -> str:
        source, target = client.address(self.version), server.address(self.version)
        ends = wire.address(source), wire.address(target)
        with client.namespace.entered():
            raw = self._stack.enter_context(socket.socket(self._family, socket.SOCK_RAW, protocol))
        raw.bind((source, 0))
        raw.connect((target, 0))
        raw.send(wire.with_checksum(protocol, *ends, body))
        return "answered" if self._answer(raw) else NO_ANSWER

    def _open(self, host: Host, kind: int, protocol: int = 0) -> socket.socket:
        # Fixed ports: each conversation is new to connection tracking, in every run alike.
        with host.namespace.entered():
            made = socket.socket(self._family, kind, protocol)
        try:
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.bind((host.address(self.version), next(self._ports)))
        except OSError:
            made.close()
            raise
        return made

    def _listener(self, host: Host, port: int, kind: int) -> socket.socket:
        address = host.address(self.version)
        key = address, port, kind
        if key not in self._listeners:
            with host.namespace.entered():
                made = self._stack.enter_context(socket.socket(self._family, kind))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            if kind == socket.SOCK_STREAM:
                made.listen()
            self._listeners[key] = made
        return self._listeners[key]

    def _connect(self, asking: socket.socket, server: Host, port: int) -> str:
        asking.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            try:
                asking.connect((server.address(self.version), port))
            except ConnectionRefusedError:
                return "refused"
        if not select.select([], [asking], [], WAIT_S)[1]:
            return NO_ANSWER
        return "refused" if _error(asking) else ""

    def _answer(self, asking: socket.socket) -> bytes | None:
        # What is not there in time stays watched; see `disturbed`.
        if _readable(asking):
            return asking.recv(65536)
        self._unanswered.append(asking)
        return None

    def _repeated(self) -> int:
        return sum(_retransmissions(namespace) for namespace in self.namespaces)


def _transfer(asking: socket.socket, answering: socket.socket, pieces: int) -> str:
    answering.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for end in (asking, answering):
        end.settimeout(PATIENCE_S)
    try:
        for number in range(pieces):
            question = b"piece %08d" % number
            asking.sendall(question)
            assert _receive(answering, len(question)) == question
            answer = number.to_bytes(4, "big") * (PIECE // 4)
            answering.sendall(answer)
            assert _receive(asking, PIECE) == answer
        asking.shutdown(socket.SHUT_WR)
        assert answering.recv(1) == b""
        answering.shutdown(socket.SHUT_WR)
        assert asking.recv(1) == b""
    except TimeoutError:
        for end in (asking, answering):  # close by reset: nothing is sent later
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "broke off"
    return f"{pieces * PIECE} bytes"


def _receive(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = end.recv(count - len(data))
        if not part:
            break
        data += part
    return data


def _readable(end: socket.socket) -> bool:
    return bool(select.select([end], [], [], WAIT_S)[0])


def _error(end: socket.socket) -> int:
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _retransmissions(namespace: Namespace) -> int:
    with namespace.entered():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])
