"""Which ports are open: servers on every port asked for, and probes sent from elsewhere.

    Probe(CLIENT, "tcp", "10.0.1.1", 22)   ->  "open", "refused", "refused by ICMP 3/3" or "silent"

All probes of one `ask` are under way at once, so that those a firewall drops cost one wait.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType

from tests.harness.netns import Namespace

#: So long (seconds) without an answer is silence; answers take less than a thousandth of it.
PATIENCE_S = 0.3

_ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "prohibited",
    errno.ENETUNREACH: "prohibited",
    errno.EACCES: "prohibited",
    errno.EPERM: "not let out",
}
#: Each probe has a port that no other has had lately: an error tells by it which one it is about.
#: Left to the kernel, two families or sources share ports, and who is refused within connect(2)
#: has none any more. Below those that the kernel gives (ip_local_port_range).
_ports = itertools.cycle(range(20000, 32000))

_ECHO_REQUEST = {4: 8, 6: 128}


@dataclass(frozen=True, slots=True)
class Probe:
    """A connection (tcp), a datagram (udp) or a ping (icmp), which has no port."""

    at: str
    kind: str
    address: str
    port: int = 0
    source: str = ""

    def __str__(self) -> str:
        by = f" ({self.source})" if self.source else ""
        port = f" {self.port}" if self.port else ""
        return f"{self.at}{by} → {self.address} {self.kind}{port}"


class Servers:
    """TCP and UDP servers in a namespace, of both families; UDP says back what it hears."""

    def __init__(
        self, namespace: Namespace, tcp: Iterable[int] = (), udp: Iterable[int] = ()
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ)
        with namespace.entered():
            for kind, ports in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
                for port in ports:
                    self._selector.register(_serve(kind, port), selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._answer, args=[stopped], daemon=True)
        self._thread.start()

    def _answer(self, stopped: socket.socket) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is stopped:
                    return
                with contextlib.suppress(OSError):  # who asked may be gone already
                    if ready.type is socket.SOCK_STREAM:
                        ready.accept()[0].close()
                    else:
                        ready.sendto(*ready.recvfrom(2048))

    def close(self) -> None:
        self._stop.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def _serve(kind: socket.SocketKind, port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setblocking(False)
    server.bind(("::", port))
    if kind is socket.SOCK_STREAM:
        server.listen(16)
    return server


def ask(probes: Sequence[Probe], namespaces: dict[str, Namespace]) -> dict[str, str]:
    """Send all probes, each from the namespace it names, and tell what came of each."""
    outcomes = dict.fromkeys(map(str, probes), "silent")
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        listening = {}
        for at in {probe.at for probe in probes}:
            with namespaces[at].entered():
                listening[at] = [stack.enter_context(_raw(version)) for version in (4, 6)]
        marks: dict[tuple[str, str, int], Probe] = {}
        for number, probe in enumerate(probes):
            with namespaces[probe.at].entered():
                asking = stack.enter_context(_socket(probe))
            mark = number if probe.kind == "icmp" else asking.getsockname()[1]
            marks[probe.at, probe.kind, mark] = probe
            failed = _send(asking, probe, number)
            if failed:
                outcomes[str(probe)] = failed
            else:
                wanted = selectors.EVENT_WRITE if probe.kind == "tcp" else selectors.EVENT_READ
                selector.register(asking, wanted, (probe, number))
        for probe, outcome in _answers(selector):
            outcomes[str(probe)] = outcome
        for at, (v4, v6) in listening.items():
            for kind, mark, said in (*_errors(v4, 4), *_errors(v6, 6)):
                if probed := marks.get((at, kind, mark)):
                    outcomes[str(probed)] = said
    return outcomes


def _raw(version: int) -> socket.socket:
    # Errors are heard here, not by the sockets they are about: TCP drops one that comes while
    # the socket is in use, and over a veth it does, before connect(2) is done (tcp_v6_err() in
    # net/ipv6/tcp_ipv6.c, LockDroppedIcmps).
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    made = socket.socket(family, socket.SOCK_RAW, protocol)
    made.setblocking(False)
    return made


def _errors(raw: socket.socket, version: int) -> Iterator[tuple[str, int, str]]:
    # Gives of each error the kind of probe, its port or number, and what it says.
    kinds = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}
    with contextlib.suppress(BlockingIOError):
        while True:
            heard = raw.recv(2048)
            message = heard[20:] if version == 4 else heard
            about = message[8:]  # the packet, as far as it is quoted
            is_error = message[0] in (3, 11, 12) if version == 4 else message[0] < 128
            if not is_error:
                continue
            kind = kinds.get(about[9 if version == 4 else 6], "")
            upper = about[20 if version == 4 else 40 :]
            mark = int.from_bytes(upper[6:8] if kind == "icmp" else upper[:2], "big")
            yield kind, mark, f"refused by ICMP {message[0]}/{message[1]}"


def _answers(selector: selectors.BaseSelector) -> Iterator[tuple[Probe, str]]:
    deadline = time.monotonic() + PATIENCE_S
    while selector.get_map() and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            assert isinstance(key.fileobj, socket.socket)
            outcome = _outcome(key.fileobj, *key.data)
            if outcome:
                selector.unregister(key.fileobj)
                yield key.data[0], outcome


def _socket(probe: Probe) -> socket.socket:
    version = ip_address(probe.address).version
    if probe.kind == "icmp":
        made = _raw(version)
    else:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        kind = socket.SOCK_STREAM if probe.kind == "tcp" else socket.SOCK_DGRAM
        made = socket.socket(family, kind)
    made.setblocking(False)
    anywhere = "0.0.0.0" if version == 4 else "::"
    made.bind((probe.source or anywhere, 0 if probe.kind == "icmp" else next(_ports)))
    return made


def _send(asking: socket.socket, probe: Probe, number: int) -> str:
    # Gives what is known at once.
    try:
        asking.connect((probe.address, probe.port))
        if probe.kind == "udp":
            asking.send(b"?")
        elif probe.kind == "icmp":
            asking.send(_echo_request(probe, number))
    except BlockingIOError:
        return ""
    except OSError as error:
        return _name(error)
    return ""


def _outcome(asking: socket.socket, probe: Probe, number: int) -> str:
    if probe.kind == "tcp":
        failed = asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return _name(OSError(failed, os.strerror(failed))) if failed else "open"
    try:
        heard = asking.recv(2048)
    except OSError as error:
        return _name(error)
    if probe.kind == "icmp":  # others' pings and errors are heard as well
        version = ip_address(probe.address).version
        payload = heard[20:] if version == 4 else heard
        mine = struct.pack("!HH", os.getpid() & 0xFFFF, number)
        reply = 0 if version == 4 else 129
        return "open" if payload[0] == reply and payload[4:8] == mine else ""
    return "open"


def _name(error: OSError) -> str:
    assert error.errno is not None
    return _ERRORS.get(error.errno) or errno.errorcode[error.errno]


def _echo_request(probe: Probe, number: int) -> bytes:
    version = ip_address(probe.address).version
    words = (_ECHO_REQUEST[version] << 8, os.getpid() & 0xFFFF, number)
    total = sum(words)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF  # of an ICMPv6 one the kernel sees
    return struct.pack("!HHHH", words[0], checksum, *words[1:])
