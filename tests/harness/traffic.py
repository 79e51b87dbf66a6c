"""Send packets into a lab and see what becomes of them.

A veth delivers in the sender's own context, so packets are through the firewall
before `send` returns, save what ksoftirqd took over; marker frames sent behind
them through the same queues tell when those are empty as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.harness import wire
from tests.harness.netns import SIDES, Lab, Namespace
from tests.harness.packets import Packet, Via

ETH_P_ALL = 3
ETH_P_MARKER = 0x88B5  # IEEE 802 local experimental ethertype 1
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_MARK = 32, 33, 36
IPPROTO_RAW = 255

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose raw socket writes a LOCAL packet, as the owner match sees it, and its mark."""

    uid: int = 0
    gid: int = 0
    mark: int = 0
    groups: tuple[int, ...] = ()


SENDERS = (
    Sender(),
    Sender(mark=1),
    Sender(uid=1000, gid=1000, mark=0x10),
    Sender(uid=60000, gid=1001, mark=0xFF),
    Sender(uid=7, gid=7, groups=(1000, 1001)),
    Sender(uid=1000, gid=7, mark=0x80000001, groups=(0,)),
)


@contextlib.contextmanager
def acting_as(sender: Sender) -> Iterator[None]:
    """Have files opened by this thread belong to `sender`, keeping its privileges."""
    before = os.getgroups()
    os.setgroups(sender.groups)
    _libc.setfsgid(sender.gid)
    _libc.setfsuid(sender.uid)
    try:
        yield
    finally:
        _libc.setfsuid(0)
        _libc.setfsgid(0)
        os.setgroups(before)


def packet_socket(namespace: Namespace, interface: str, protocol: int) -> socket.socket:
    """Open a packet socket on an interface, or with "" on all of them."""
    with namespace.entered():
        heard = 0 if interface else socket.htons(protocol)  # nothing before bind says where
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, heard)
        made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
        made.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
        if interface:
            made.bind((interface, protocol))
    made.setblocking(False)
    return made


def raw_socket(namespace: Namespace, version: int, sender: Sender) -> socket.socket:
    """Open a raw socket taking whole IP packets; protocol 255, so that none come in."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with namespace.entered(), acting_as(sender):
        made = socket.socket(family, socket.SOCK_RAW, IPPROTO_RAW)
    made.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
    if version == 4:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if sender.mark:
        made.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", sender.mark))
    return made


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of packets: frames at each end, errors of local sends, the stack's counters."""

    frames: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    errors: Counter[tuple[int, int]] = field(default_factory=Counter)
    stack: dict[str, int] = field(default_factory=dict)


class Traffic:
    """The sockets of one lab; made once, used for many rulesets."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._stack = contextlib.ExitStack()
        opened = self._stack.enter_context
        self._ends = [opened(packet_socket(end, "eth0", ETH_P_ALL)) for end in lab.ends]
        self._markers = opened(packet_socket(lab.firewall, "", ETH_P_MARKER))
        self._locals = {
            version: [opened(raw_socket(lab.firewall, version, sender)) for sender in SENDERS]
            for version in (4, 6)
        }

    def exchange(self, packets: Iterable[Packet]) -> Seen:
        """Send packets in order and give all that is seen of them."""
        self.drain()
        before = self.stack_counters()
        errors: Counter[tuple[int, int]] = Counter()
        for number, packet in enumerate(packets):
            failed = self.send(packet)
            if failed:
                errors[number, failed] += 1
            if number % 64 == 63:
                self.settle()
        self.settle()
        after = self.stack_counters()
        moved = {key: after[key] - value for key, value in before.items() if after[key] != value}
        return Seen(self.drain(), errors, moved)

    def send(self, packet: Packet) -> int:
        """Send one packet; give the errno if the kernel would not take it."""
        try:
            if packet.via is Via.LOCAL:
                version, destination = destination_of(packet.data)
                self._locals[version][packet.sender].sendto(packet.data, (destination, 0))
            else:
                self._ends[packet.via is Via.SERVER].send(packet.data)
        except OSError as error:
            return error.errno or -1
        return 0

    def send_frame(self, end: int, frame: bytes) -> None:
        """Send a frame from one of SIDES' other ends."""
        self._ends[end].send(frame)

    def frames(self, end: int, seconds: float = 5) -> Iterator[bytes]:
        """Give frames as they arrive at an end, until none does for so long."""
        while select.select([self._ends[end]], [], [], seconds)[0]:
            yield self._ends[end].recv(65536)

    def settle(self) -> None:
        """Wait until all sent before is through: each round passes one more queue behind it."""
        for _ in range(3):
            for end, side in zip(self._ends, SIDES, strict=True):
                end.send(wire.ethernet(side.mac, side.peer_mac, ETH_P_MARKER, bytes(46)))
                if not select.select([self._markers], [], [], 5)[0]:
                    raise TimeoutError(f"no marker came through {side.interface}")
                self._markers.recv(2048)

    def drain(self) -> Counter[tuple[str, bytes]]:
        """Take all frames that arrived at the ends, as `comparable` shows them."""
        seen: Counter[tuple[str, bytes]] = Counter()
        for name, end in zip(("client", "server"), self._ends, strict=True):
            with contextlib.suppress(BlockingIOError):
                while True:
                    seen[name, comparable(end.recv(65536))] += 1
        return seen

    def stack_counters(self) -> dict[str, int]:
        """Read the IP, ICMP, TCP and UDP counters of the firewall's network stack."""
        found: dict[str, int] = {}
        with self.lab.firewall.entered():
            for name in ("snmp", "netstat"):
                with open(f"/proc/thread-self/net/{name}") as lines:
                    for titles, values in zip(lines, lines, strict=True):
                        kind, *names = titles.split()
                        numbers = map(int, values.split()[1:])
                        found |= {f"{kind}{n}": v for n, v in zip(names, numbers, strict=True)}
            with open("/proc/thread-self/net/snmp6") as lines:
                found |= {name: int(value) for name, value in map(str.split, lines)}
        return found

    def close(self) -> None:
        self._stack.close()


def destination_of(packet: bytes) -> tuple[int, str]:
    """Give version and destination of an IP packet, whatever its version field says."""
    if packet[0] >> 4 == 6 or (len(packet) >= 40 and packet[8:12] == b"\x20\x01\x0d\xb8"):
        return 6, socket.inet_ntop(socket.AF_INET6, packet[24:40])
    return 4, socket.inet_ntop(socket.AF_INET, packet[16:20])


def comparable(frame: bytes) -> bytes:
    """Blank what the kernel draws at random, or from a clock, in packets it makes itself.

    IPv4: identification and header checksum, the times in an ICMP timestamp reply;
    IPv6: flow label, and the identification in a fragment header.
    """
    kind = struct.unpack_from(">H", frame, 12)[0]
    if kind == wire.ETH_P_IP and len(frame) >= 34:
        content = 14 + (frame[14] & 15) * 4
        if frame[23] == wire.ICMP and frame[content : content + 1] == b"\x0e":
            frame = frame[: content + 1]
        return frame[:18] + b"\0\0" + frame[20:24] + b"\0\0" + frame[26:]
    if kind == wire.ETH_P_IPV6 and len(frame) >= 54:
        at = fragment_header_at(frame)
        if at:
            frame = frame[: at + 4] + b"\0\0\0\0" + frame[at + 8 :]
        return frame[:14] + b"\x60\0\0\0" + frame[18:]
    return frame


def fragment_header_at(frame: bytes) -> int:
    """Find the offset of an IPv6 frame's first fragment header; 0 if there is none."""
    kind, at = frame[20], 54
    while at + 8 <= len(frame) and kind in (wire.HOPOPTS, wire.DSTOPTS, wire.ROUTING):
        kind, at = frame[at], at + (frame[at + 1] + 1) * 8
    return at if kind == wire.FRAGMENT and at + 8 <= len(frame) else 0
