"""Where packets are measured: a sender and a router, each a network namespace of its own.

    [sender] eth0 ── eth0 [router]
             sink ── sink

The sender's eth0 takes frames from a `Generator` (traffic.py); the router sends what its rules
accept out by `sink`, where the other end finds it addressed to others. Its own addresses are
of 198.18.0.0/15, which no family's packets have.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.harness.engines import BpfEngine
from tests.harness.netns import FORWARDING, Namespace

SENDER_MAC = bytes.fromhex("020000000b01")
ROUTER_MAC = bytes.fromhex("020000000b02")
INTERFACE = "eth0"
_SINK = "sink"

_SETTINGS = {
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv6/conf/all/disable_ipv6": 1,
    "ipv6/conf/default/disable_ipv6": 1,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Packets the router's IP layer took in, and those it sent on, since it was made."""

    received: int
    passed: int

    def __sub__(self, other: Seen) -> Seen:
        return Seen(self.received - other.received, self.passed - other.passed)


class Lab:
    """A sender and a router; both are gone at the end of the `with` block, rules included."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self.sender = self._stack.enter_context(Namespace("bs"))
            self.router = self._stack.enter_context(Namespace("br"))
            self._stack.callback(BpfEngine().clear, self.router)
            self._connect()
            self._snmp, self._dev = self._open("snmp"), self._open("dev")
        except BaseException:
            self._stack.close()
            raise

    def _connect(self) -> None:
        for namespace in (self.sender, self.router):
            namespace.sysctl(_SETTINGS)
        self.router.sysctl(FORWARDING)
        ours = f"address {SENDER_MAC.hex(':')} arp off type veth peer"
        peers = f"address {ROUTER_MAC.hex(':')} arp off netns {self.router.name}"
        for name in (INTERFACE, _SINK):
            self.sender.ip(f"link add {name} {ours} name {name} {peers}", f"link set {name} up")
        self.router.ip(
            "link set lo up",
            f"link set {INTERFACE} up",
            f"link set {_SINK} up",
            f"address add 198.18.0.1/24 dev {INTERFACE}",
            f"address add 198.18.1.1/24 dev {_SINK}",
            f"neighbour replace 198.18.1.2 lladdr 02:00:00:00:0b:03 nud permanent dev {_SINK}",
            f"route add default via 198.18.1.2 dev {_SINK}",
        )

        # A frame redirected into a veth needs a NAPI context at the other end: GRO is one.
        self.router.run("ethtool", "-K", INTERFACE, "gro", "on")

    def _open(self, name: str) -> int:
        # A file of /proc/net stays with the namespace that it was opened in.
        with self.router.entered():
            fd = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self._stack.callback(os.close, fd)
        return fd

    def seen(self) -> Seen:
        """Read the router's counters: IP's InReceives, and what went out by the sink."""
        lines = _read(self._snmp).splitlines()
        names, values = (line.split() for line in lines if line.startswith("Ip:"))
        (sink,) = (line for line in _read(self._dev).splitlines() if f" {_SINK}:" in f" {line}")
        sent = sink.split(":")[1].split()[9]
        return Seen(int(values[names.index("InReceives")]), int(sent))

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def pinned() -> Iterator[int]:
    """Keep this thread, and so the packets it sends, on one CPU; gives its number."""
    before = os.sched_getaffinity(0)
    cpu = max(before)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, before)


def _read(fd: int) -> str:
    return os.pread(fd, 1 << 16, 0).decode()


def in_router(lab: Lab, command: Sequence[str]) -> list[str]:
    """Give the words that run a command in the router's network namespace."""
    return ["nsenter", f"--net={lab.router.path}", *command]
