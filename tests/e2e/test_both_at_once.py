"""Rules that only count, in both firewalls of one namespace: each packet passes both.

So real connections can be compared, whose packets no two runs have in common: large sends
that are cut up after the filter, data in page fragments, sockets that close meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import wire
from tests.harness.duel import count_differences
from tests.harness.engines import BpfEngine, LegacyEngine, legacy_command, legacy_restore
from tests.harness.netns import CLIENT, QUIET, SERVER, Lab, Namespace

pytestmark = pytest.mark.e2e

OFFLOADS = ("sg", "tx", "rx", "tso", "gso", "gro")
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
UDP_CORK, UDP_SEGMENT = 1, 103
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS, IFF_NO_PI = 0x2, 0x10, 0x20, 0x1000

STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT")
STATUSES = ("NONE", "SEEN_REPLY", "ASSURED", "CONFIRMED")
FLAGS = ("SYN", "ACK", "PSH", "FIN", "RST")
LENGTHS = ("0:40", "41:60", "61:100", "101:1400", "1401:1500", "1501:9000", "9001:65535")
# IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE
IFLA_MAX_SIZES = (41, 58, 63, 64)
RTM_NEWLINK, NLM_F_REQUEST_ACK = 16, 5
ANYWHERE = [
    *(f"-m conntrack --ctstate {state}" for state in STATES),
    *(f"-m conntrack {sign} --ctstatus {name}" for name in STATUSES for sign in ("", "!")),
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctproto 6",
    "-m conntrack --ctorigdstport 5000:5099",
    "-m conntrack --ctstate NEW,RELATED --ctstatus CONFIRMED",
    *(f"-p tcp -m tcp --tcp-flags {flag} {flag}" for flag in FLAGS),
    *(f"-p tcp -m tcp {sign} --tcp-option {kind}" for kind in (3, 5, 8) for sign in ("", "!")),
    *(f"-p {name} -m {name} --dport 5000:5099" for name in ("tcp", "udp")),
    "-p udp -m multiport --dports 1,2,5000:5002,9,5003,5004:5006 -m multiport --sports 1024:65000",
    *(f"-m length --length {sizes}" for sizes in LENGTHS),
    "-m length ! --length 0:65535",
    "-m mark --mark 0",
    "-m pkttype --pkt-type unicast",
    "-m cpu --cpu 0",
    "-m dscp ! --dscp 0",
    "-m ecn --ecn-ip-ect 0",
]
FROM_OUTSIDE = ["-i lo", "-i eth+", "! -i eth0", f"-m mac --mac-source {CLIENT.peer_mac}"]
TO_OUTSIDE = ["-o lo", "-o eth+", "! -o eth0"]
FROM_HERE = [
    *(f"-m owner {sign} --uid-owner 0" for sign in ("", "!")),
    *(f"-m owner {sign} --socket-exists" for sign in ("", "!")),
    "-m owner --gid-owner 0-100",
    *(f"-p tcp -m tcp --tcp-flags {flag} {flag} -m owner --uid-owner 0" for flag in FLAGS),
    *(f"-p tcp -m tcp --tcp-flags {flag} {flag} -m owner --socket-exists" for flag in FLAGS),
]
CHAINS = {
    "INPUT": ANYWHERE + FROM_OUTSIDE,
    "FORWARD": ANYWHERE + FROM_OUTSIDE + TO_OUTSIDE,
    "OUTPUT": ANYWHERE + TO_OUTSIDE + FROM_HERE,
}
TEXT = "\n".join(
    [
        "*filter",
        *(f":{chain} ACCEPT [0:0]" for chain in CHAINS),
        *(f"-A {chain} {rule}" for chain, rules in CHAINS.items() for rule in rules),
        "COMMIT\n",
    ]
)


NAME = "abcdefghijklmno"  # as long as a device's name may be
SHORTER = [NAME[:length] for length in range(1, len(NAME) + 1)]
NAMES = [*SHORTER, *(f"{name}+" for name in SHORTER[:-1]), "+", "b+", f"{NAME[:-1]}x", NAME[:-2]]


class Both:
    """A lab whose firewall has the rules twice."""

    def __init__(self, lab: Lab, version: int) -> None:
        self.lab = lab
        self.version = version
        self.family = socket.AF_INET if version == 4 else socket.AF_INET6
        # Where connections through, to, from and inside the firewall go.
        far, near, inside = (
            (SERVER.v4_peer, CLIENT.v4, "127.0.0.1")
            if version == 4
            else (SERVER.v6_peer, CLIENT.v6, "::1")
        )
        self.ways: tuple[tuple[Namespace, Namespace, str], ...] = (
            (lab.client, lab.server, far),
            (lab.client, lab.firewall, near),
            (lab.firewall, lab.server, far),
            (lab.firewall, lab.firewall, inside),
        )
        BpfEngine().apply(lab.firewall, version, TEXT)
        legacy_restore(lab.firewall, version, TEXT)

    def open(self, namespace: Namespace, kind: int) -> socket.socket:
        with namespace.entered():
            made = socket.socket(self.family, kind)
        made.settimeout(20)
        return made

    def listen(self, namespace: Namespace, port: int) -> socket.socket:
        made = self.open(namespace, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", port))
        made.listen()
        return made

    def stream(self, way: int, port: int, send: Callable[[socket.socket], None]) -> None:
        """Send over a connection that the other side reads to its end."""
        near, far, address = self.ways[way]
        with self.listen(far, port) as listener, self.open(near, socket.SOCK_STREAM) as sender:

            def read() -> None:
                with listener.accept()[0] as accepted:
                    while accepted.recv(1 << 20):
                        pass

            reader = threading.Thread(target=read)
            reader.start()
            sender.connect((address, port))
            send(sender)
            sender.shutdown(socket.SHUT_WR)
            reader.join()

    def agree(self, at_least: int) -> None:
        """Require equal counters, of enough rules that any packet met."""
        deadline = time.monotonic() + 5
        while True:  # the last packets may still be on their way
            counts = LegacyEngine().counts(self.lab.firewall, self.version)
            others = BpfEngine().counts(self.lab.firewall, self.version)
            found = count_differences(TEXT, counts, others, ("iptables", "bpfilter"))
            if not found or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert not found
        assert sum(hits > 0 for rules in counts.rules.values() for hits, _ in rules) >= at_least


@pytest.fixture(params=[4, 6])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    with Lab() as lab:
        for namespace in (lab.client, lab.firewall, lab.server):
            for interface in ("eth0", "eth1")[: 2 if namespace is lab.firewall else 1]:
                words = [word for name in OFFLOADS for word in (name, "on")]
                namespace.run("ethtool", "-K", interface, *words)
        try:
            yield Both(lab, request.param)
        finally:
            BpfEngine().clear(lab.firewall)


def at_once(sender: socket.socket) -> None:
    sender.sendall(bytes(4 << 20))


def from_a_file(sender: socket.socket) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1 << 20))
        file.seek(0)
        sender.sendfile(file)


def without_copying(sender: socket.socket) -> None:
    sender.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    sender.send(bytes(1 << 20), MSG_ZEROCOPY)


def bit_by_bit(sender: socket.socket) -> None:
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for size in range(1, 100):
        sender.send(bytes(size))


def test_connections_with_all_offloads(both: Both) -> None:
    for send in (at_once, from_a_file, without_copying, bit_by_bit):
        for way in range(4):
            both.stream(way, 5001 + way, send)
    both.agree(at_least=100)


def test_packets_of_more_than_64_kib(both: Both) -> None:
    """BIG TCP: no length in the IPv4 header, a hop-by-hop option before the IPv6 payload."""
    firewall = both.lab.firewall
    for namespace, name in (
        *((namespace, "eth0") for namespace in (both.lab.client, firewall, both.lab.server)),
        (firewall, "eth1"),
        (firewall, "lo"),
    ):
        allow_big_packets(namespace, name)
    for way in range(4):
        both.stream(way, 5001 + way, at_once)
    both.agree(at_least=100)
    counts = LegacyEngine().counts(both.lab.firewall, both.version)
    big = {
        chain: counts.rules[chain][rules.index("-m length ! --length 0:65535")][0]
        for chain, rules in CHAINS.items()
    }
    assert big["INPUT" if both.version == 6 else "FORWARD"] > 0, big


def allow_big_packets(namespace: Namespace, name: str) -> None:
    """Set what iproute2 here has no words for."""
    with namespace.entered():
        index = socket.if_nametoindex(name)
        talk = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    with talk:
        for attribute in IFLA_MAX_SIZES:
            link = struct.pack("=BxHiII", 0, 0, index, 0, 0)
            body = link + struct.pack("=HHI", 8, attribute, 180_000)
            size = 16 + len(body)
            talk.send(struct.pack("=IHHII", size, RTM_NEWLINK, NLM_F_REQUEST_ACK, 1, 0) + body)
            assert struct.unpack_from("=i", talk.recv(4096), 16)[0] == 0


@pytest.mark.parametrize("name", [NAME, NAME[:3], "a"])
def test_device_names_of_any_length(name: str) -> None:
    signed = [
        f"{sign}-{letter} {each}" for letter in "io" for each in NAMES for sign in ("", "! ")
    ]
    rules = [rule for rule in signed if not rule.startswith("!") or not rule.endswith(" +")]
    lines = [f"-A {chain} {rule}" for chain in ("own", "far") for rule in rules]
    head = ("*filter", ":own - [0:0]", ":far - [0:0]", "-A INPUT -j own", "-A OUTPUT -j far")
    text = "\n".join([*head, *lines, "COMMIT\n"])
    with Namespace("names") as namespace:
        namespace.sysctl(QUIET)
        namespace.ip(
            "link set lo up",
            f"link add name {name} type veth peer name zz",
            f"link set dev {name} up",
            f"address add 10.8.0.1/24 dev {name}",
        )
        time.sleep(0.2)  # the reports of the group just joined go out
        BpfEngine().apply(namespace, 4, text)
        legacy_restore(namespace, 4, text)
        try:
            with namespace.entered():
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sender:
                for address in ("10.8.0.1", "10.8.0.2"):
                    sender.sendto(b"x", (address, 5001))
            counts, others = LegacyEngine().counts(namespace, 4), BpfEngine().counts(namespace, 4)
            assert not count_differences(text, counts, others, ("iptables", "bpfilter"))
            assert sum(hits > 0 for hits, _ in counts.rules["far"]) > 20
        finally:
            BpfEngine().clear(namespace)


def test_datagrams_in_pages_and_segments(both: Both) -> None:
    for near, _, address in both.ways:
        with both.open(near, socket.SOCK_DGRAM) as plain:
            for size in (0, 1, 1472, 1473, 20_000):
                plain.sendto(bytes(size), (address, 5001))
        with both.open(near, socket.SOCK_DGRAM) as cut:
            cut.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            cut.sendto(bytes(30_000), (address, 5002))
        with both.open(near, socket.SOCK_DGRAM) as corked, tempfile.TemporaryFile() as file:
            file.write(bytes(20_000))
            file.flush()
            corked.connect((address, 5003))
            corked.setsockopt(socket.IPPROTO_UDP, UDP_CORK, 1)
            os.sendfile(corked.fileno(), file.fileno(), 0, 20_000)
            corked.setsockopt(socket.IPPROTO_UDP, UDP_CORK, 0)
    both.agree(at_least=60)


def test_sockets_that_close_meanwhile(both: Both) -> None:
    """What is sent for a socket nobody has any more: its last data, resets, old connections."""
    near, far, address = both.ways[2]
    for _ in range(5):
        with both.listen(far, 5001) as listener:
            sender = both.open(near, socket.SOCK_STREAM)
            sender.connect((address, 5001))
            with listener.accept()[0] as accepted:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
                sender.settimeout(0)
                sender.send(bytes(1 << 20))
                sender.close()
                while accepted.recv(1 << 20):
                    pass
            aborted = both.open(near, socket.SOCK_STREAM)
            aborted.connect((address, 5001))
            aborted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            aborted.close()
    for near, _, address in both.ways:
        with both.open(near, socket.SOCK_STREAM) as refused:
            assert refused.connect_ex((address, 5009)) == errno.ECONNREFUSED
    both.agree(at_least=60)


def test_connections_translated_or_not_tracked(both: Both) -> None:
    firewall, command = both.lab.firewall, legacy_command(both.version, "")
    far = f"[{both.ways[0][2]}]" if both.version == 6 else both.ways[0][2]
    port = ("-p", "udp", "--dport")
    for words in (
        ("-t", "raw", "-A", "PREROUTING", *port, "5001", "-j", "CT", "--notrack"),
        ("-t", "raw", "-A", "OUTPUT", *port, "5001", "-j", "CT", "--notrack"),
        ("-t", "nat", "-A", "PREROUTING", *port, "5002", "-j", "DNAT", "--to", f"{far}:5003"),
        ("-t", "nat", "-A", "POSTROUTING", *port, "5004", "-j", "MASQUERADE"),
    ):
        firewall.run(command, *words)
    for near, _, address in both.ways:
        for number in range(5001, 5006):
            with both.open(near, socket.SOCK_DGRAM) as sender:
                sender.connect((address, number))
                for _ in range(3):
                    # Nobody listens: the error that comes back is RELATED, or INVALID.
                    with contextlib.suppress(ConnectionRefusedError):
                        sender.send(b"x")
    both.agree(at_least=60)


def test_headers_in_page_fragments(both: Both) -> None:
    """A tap device that is written to in pieces makes a page fragment of each after the first."""
    firewall, version = both.lab.firewall, both.version
    with firewall.entered():
        tap = os.open("/dev/net/tun", os.O_RDWR)
    try:
        flags = IFF_TAP | IFF_NAPI | IFF_NAPI_FRAGS | IFF_NO_PI
        with firewall.entered():
            fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH14x", b"tap0", flags))
        here, there = ("10.7.0.1", "10.7.0.2") if version == 4 else ("fd07::1", "fd07::2")
        firewall.ip(
            f"link set tap0 address {CLIENT.mac} up",
            f"address add {here}/{24 if version == 4 else 64} dev tap0"
            + (" nodad" if version == 6 else ""),
        )
        for destination in (here, both.ways[0][2]):
            for frame in frames(version, there, destination):
                for cuts in CUTS:
                    ends = [*cuts, len(frame)]
                    pieces = zip([0, *cuts], ends, strict=True)
                    os.writev(tap, [frame[start:end] for start, end in pieces])
        both.agree(at_least=30)
    finally:
        os.close(tap)


#: Where frames are cut: before, in and after the network header, the ports, the options.
CUTS = (
    [14],
    [34],
    [36],
    [54],
    [55, 56, 57, 58, 66],
    [34, 38, 44, 55, 58, 61, 63, 66, 74, 84],
    list(range(60, 76)),
)


def frames(version: int, source: str, destination: str) -> Iterator[bytes]:
    """Make TCP with options, UDP and a ping of one host."""
    options = bytes([8, 10, *bytes(8), 1, 1, 5, 2])
    ping = wire.icmp(8 if version == 4 else 128, 0, bytes(100))
    for protocol, body in (
        (wire.TCP, wire.tcp(1000, 5001, 2, options=options, payload=bytes(100))),
        (wire.UDP, wire.udp(2000, 5002, bytes(100))),
        (wire.ICMP if version == 4 else wire.ICMPV6, ping),
    ):
        ends = wire.address(source), wire.address(destination)
        filled = wire.with_checksum(protocol, *ends, body)
        build = wire.ipv4 if version == 4 else wire.ipv6
        kind = wire.ETH_P_IP if version == 4 else wire.ETH_P_IPV6
        packet = build(source, destination, protocol, filled)
        yield wire.ethernet(CLIENT.mac, CLIENT.peer_mac, kind, packet)
