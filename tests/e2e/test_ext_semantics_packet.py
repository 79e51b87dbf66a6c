"""The kernel is the judge of predicates: iptables-legacy counts what the same fields decide.

Each trial is one rule in OUTPUT with a rule that counts survivors behind it, and raw
packets with the fields they have, written down by hand: where a guard stands, and what
is still counted, must come out as in the kernel.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bpfilter.rules.model import Family
from tests.harness.netns import Namespace
from tests.unit.ext import test_sctp as sctp
from tests.unit.ext.support import V4, V6, Outcome, Values, bits, outcome, parse

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
    pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="needs iptables-legacy"),
]

TCP, UDP, DCCP, ESP, AH, ICMP, ICMP6, SCTP = 6, 17, 33, 50, 51, 1, 58, 132


@dataclass(frozen=True)
class Sent:
    packet: bytes
    values: Values


def ipv4(protocol: int, payload: bytes, *, offset: int = 0, tos: int = 0, ttl: int = 64) -> bytes:
    """An IPv4 packet to this host; `offset` is the fragment's, in units of 8 bytes."""
    host = socket.inet_aton("127.0.0.1")
    return (
        struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(payload), 1, offset, ttl, protocol, 0)
        + host
        + host
        + payload
    )


def ipv6(protocol: int, payload: bytes, *, traffic_class: int = 0, hop_limit: int = 64) -> bytes:
    host = socket.inet_pton(socket.AF_INET6, "::1")
    first = 6 << 28 | traffic_class << 20
    return struct.pack("!IHBB", first, len(payload), protocol, hop_limit) + host + host + payload


class Judge:
    """Counts with the kernel's own iptables in a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        with namespace.entered():
            self.sockets = {
                V4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
                V6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
            }

    def close(self) -> None:
        for raw in self.sockets.values():
            raw.close()

    def count(self, family: Family, words: str, packets: list[bytes]) -> tuple[int, int]:
        """Give how many packets the rule counted, and how many were not dropped by it."""
        command = f"{family.command}-legacy"
        # Nothing may be answered: what is sent back leaves by OUTPUT too.
        rules = ("*filter", ":INPUT DROP", f"-A OUTPUT {words}", "-A OUTPUT", "COMMIT\n")
        self.namespace.run(f"{command}-restore", stdin="\n".join(rules))
        address = ("127.0.0.1", 0) if family is V4 else ("::1", 0)
        for packet in packets:
            with contextlib.suppress(PermissionError):  # dropped in OUTPUT
                self.sockets[family].sendto(packet, address)
        lines = self.namespace.run(command, "-nvxL", "OUTPUT").splitlines()[2:]
        counted, survived = (int(line.split()[0]) for line in lines)
        return counted, survived


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Namespace("semantics") as namespace:
        namespace.ip("link set lo up")
        made = Judge(namespace)
        try:
            yield made
        finally:
            made.close()


def agree(judge: Judge, family: Family, words: str, sent: list[Sent]) -> None:
    rule = parse(words, family)
    predicate = rule.matches[-1].predicate(family, rule)
    found = [outcome(predicate, one.values) for one in sent]
    counted = sum(one in (Outcome.MATCH, Outcome.MATCH_DROP) for one in found)
    survived = sum(one in (Outcome.MATCH, Outcome.MISS) for one in found)
    assert judge.count(family, words, [one.packet for one in sent]) == (counted, survived), words


def ports(sport: int, dport: int, rest: bytes = b"") -> bytes:
    return struct.pack("!HH", sport, dport) + rest


def both(protocol: int, payload: bytes, values: Values) -> list[tuple[Family, Sent]]:
    return [
        (V4, Sent(ipv4(protocol, payload), values)),
        (V6, Sent(ipv6(protocol, payload), values)),
    ]


SIMPLE: list[tuple[str, int, bytes, Values]] = [
    ("-p udp --dport 53", UDP, ports(9, 53, bytes(4)), {"sport": 9, "dport": 53}),
    ("-p udp ! --dport 53", UDP, ports(9, 53, bytes(4)), {"sport": 9, "dport": 53}),
    ("-p udp ! --sport 0:65535", UDP, ports(9, 53, bytes(4)), {"sport": 9, "dport": 53}),
    ("-p udp -m udp", UDP, ports(9, 53, bytes(3)), {"udp_guard": 2}),
    ("-p udp -m multiport --ports 53", UDP, ports(9, 53), {"sport": 9, "dport": 53}),
    ("-p udp -m multiport ! --ports 53", UDP, ports(9, 53), {"sport": 9, "dport": 53}),
    ("-p udp -m multiport ! --ports 1:52,60", UDP, ports(9, 53), {"sport": 9, "dport": 53}),
    ("-p udp -m multiport --ports 53", UDP, ports(9, 53)[:3], {"ports_guard": 2}),
    ("-p esp --espspi 7", ESP, struct.pack("!II", 7, 1), {"esp_spi": 7}),
    ("-p esp ! --espspi 8:9", ESP, struct.pack("!II", 7, 1), {"esp_spi": 7}),
    ("-p esp -m esp", ESP, bytes(7), {"esp_guard": 2}),
    ("-p sctp -m sctp", SCTP, bytes(11), {"sctp_guard": 2}),
    ("-p dccp -m dccp", DCCP, bytes(11), {"dccp_guard": 2}),
]


@pytest.mark.parametrize(("words", "protocol", "payload", "values"), SIMPLE)
def test_transport(
    judge: Judge, words: str, protocol: int, payload: bytes, values: Values
) -> None:
    for family, sent in both(protocol, payload, values):
        agree(judge, family, words, [sent])


@pytest.mark.parametrize(
    ("words", "protocol", "guard"),
    [
        ("-p udp ! --dport 53", UDP, "udp_guard"),
        ("-p udp -m multiport ! --ports 53", UDP, "ports_guard"),
        ("-p icmp ! --icmp-type 8", ICMP, "icmp_guard"),
        ("-p esp ! --espspi 8", ESP, "esp_guard"),
        ("-p ah ! --ahspi 8", AH, "ah_guard"),
        ("-p sctp ! --sport 8", SCTP, "sctp_guard"),
        ("-p dccp ! --sport 8", DCCP, "dccp_guard"),
    ],
)
def test_later_fragments_never_match(judge: Judge, words: str, protocol: int, guard: str) -> None:
    sent = [Sent(ipv4(protocol, bytes(16), offset=offset), {guard: 1}) for offset in (1, 2, 100)]
    agree(judge, V4, words, sent)


@pytest.mark.parametrize("type_", ["8", "8/1", "8/0:3", "8/3:0", "any", "255/7", "3"])
def test_icmp(judge: Judge, type_: str) -> None:
    sent = [
        Sent(ipv4(ICMP, bytes((8, code)) + bytes(6)), {"icmp_type": 8, "icmp_code": code})
        for code in (0, 1, 2, 3, 4, 255)
    ]
    sent.append(Sent(ipv4(ICMP, bytes(7)), {"icmp_guard": 2}))
    agree(judge, V4, f"-p icmp --icmp-type {type_}", sent)
    agree(judge, V4, f"-p icmp ! --icmp-type {type_}", sent)


@pytest.mark.parametrize("type_", ["200", "200/1", "200/0:3", "255"])
def test_icmp6(judge: Judge, type_: str) -> None:
    sent = [
        Sent(ipv6(ICMP6, bytes((200, code)) + bytes(6)), {"icmp_type": 200, "icmp_code": code})
        for code in (0, 1, 2, 3, 4, 255)
    ]
    sent.append(Sent(ipv6(ICMP6, bytes(7)), {"icmp_guard": 2}))
    agree(judge, V6, f"-p icmpv6 --icmpv6-type {type_}", sent)
    agree(judge, V6, f"-p icmpv6 ! --icmpv6-type {type_}", sent)


@pytest.mark.parametrize(
    "words",
    [
        "-m tos --tos 0x10",
        "-m tos ! --tos 0x10/0x3f",
        "-m tos --tos 5/3",
        "-m tos ! --tos 5/3",
        "-m tos --tos 0/0",
        "-m dscp --dscp 4",
        "-m dscp ! --dscp-class EF",
        "-m ecn --ecn-ip-ect 2",
        "-m ecn ! --ecn-ip-ect 0",
    ],
)
def test_type_of_service(judge: Judge, words: str) -> None:
    values = (0x00, 0x10, 0x11, 0x12, 0x50, 0xB8, 0xBA, 0xFF)
    agree(judge, V4, words, [Sent(ipv4(250, b"", tos=tos), {"tos": tos}) for tos in values])
    agree(
        judge, V6, words, [Sent(ipv6(250, b"", traffic_class=tos), {"tos": tos}) for tos in values]
    )


@pytest.mark.parametrize(
    "given", ["-eq 5", "-lt 5", "-gt 5", "-lt 0", "-gt 255", "-gt 0", "-lt 255"]
)
def test_time_to_live(judge: Judge, given: str) -> None:
    values = (1, 4, 5, 6, 254, 255)
    agree(
        judge,
        V4,
        f"-m ttl --ttl{given}",
        [Sent(ipv4(250, b"", ttl=n), {"ttl": n}) for n in values],
    )
    agree(
        judge,
        V6,
        f"-m hl --hl{given}",
        [Sent(ipv6(250, b"", hop_limit=n), {"ttl": n}) for n in values],
    )


@pytest.mark.parametrize("given", ["40:60", "! --length 40:60", "61:"])
def test_length(judge: Judge, given: str) -> None:
    words = f"-m length {given if given.startswith('!') else f'--length {given}'}"
    agree(
        judge, V4, words, [Sent(ipv4(250, bytes(n)), {"length": 20 + n}) for n in (19, 20, 40, 41)]
    )
    agree(
        judge, V6, words, [Sent(ipv6(250, bytes(n)), {"length": 40 + n}) for n in (0, 1, 20, 21)]
    )


def test_length_of_ipv6_is_the_buffers(judge: Judge) -> None:
    packet = bytearray(ipv6(250, bytes(10)))
    packet[4:6] = struct.pack("!H", 3)
    agree(judge, V6, "-m length --length 50", [Sent(bytes(packet), {"length": 50})])


@pytest.mark.parametrize(
    "given",
    [
        "--ecn-tcp-ece",
        "! --ecn-tcp-ece",
        "--ecn-tcp-cwr ! --ecn-tcp-ece",
        "! --ecn-tcp-cwr ! --ecn-ip-ect 1",
    ],
)
def test_ecn_reads_any_twenty_bytes(judge: Judge, given: str) -> None:
    def header(flags: int) -> bytes:
        return bytes(13) + bytes((flags,)) + bytes(6)

    sent, sent6 = [], []
    for flags in (0x00, 0x40, 0x80, 0xC0):
        values = {"ecn_tcp": 1, "tcp_flags": flags}
        sent.append(Sent(ipv4(TCP, header(flags)), values))
        sent.append(Sent(ipv4(TCP, header(flags), offset=3), values))
        sent6.append(Sent(ipv6(TCP, header(flags)), values))
        # A later fragment: 20 bytes at offset 0 are the IPv6 header; byte 13 is of ::1.
        fragment = struct.pack("!BBHI", TCP, 0, 3 << 3, 1) + header(flags)
        sent6.append(Sent(ipv6(44, fragment), {"ecn_tcp": 1, "tcp_flags": 0}))
    sent.append(Sent(ipv4(TCP, bytes(19)), {"ecn_tcp": 0}))
    sent6.append(Sent(ipv6(TCP, bytes(19)), {"ecn_tcp": 0}))
    agree(judge, V4, f"-p tcp -m ecn {given}", sent)
    agree(judge, V6, f"-p tcp -m ecn {given}", sent6)


def authentication(spi: int, length: int = 4, reserved: int = 0, room: int = 24) -> bytes:
    return (struct.pack("!BBHII", 59, length, reserved, spi, 1) + bytes(100))[:room]


@pytest.mark.parametrize("given", ["--ahspi 7", "! --ahspi 7", "--ahspi 8:9"])
def test_ah_v4(judge: Judge, given: str) -> None:
    sent = [
        Sent(ipv4(AH, authentication(7, room=12)), {"ah_spi": 7}),
        Sent(ipv4(AH, authentication(7, room=11)), {"ah_guard": 2}),
    ]
    agree(judge, V4, f"-p ah {given}", sent)


@pytest.mark.parametrize(
    "given",
    ["", "--ahspi 7", "! --ahspi 7", "--ahlen 24", "! --ahlen 24", "! --ahlen 0", "--ahres"],
)
def test_ah_v6(judge: Judge, given: str) -> None:
    sent = [
        Sent(ipv6(AH, authentication(7)), {"ah_spi": 7, "ah_length": 24}),
        Sent(
            ipv6(AH, authentication(8, 2, 5, 16)),
            {"ah_spi": 8, "ah_length": 16, "ah_reserved": 5},
        ),
        Sent(ipv6(AH, authentication(7, room=23)), {"ah_guard": 2}),
        Sent(ipv6(AH, authentication(7, 0, room=11)), {"ah_guard": 2}),
        Sent(ipv6(UDP, bytes(8)), {"ah_guard": 1}),
        Sent(ipv6(60, b"\x33\x00"), {"ah_guard": 2}),
    ]
    agree(judge, V6, f"-m ah {given}", sent)


def sctp_bytes(packet: sctp.Packet, number: int) -> bytes:
    chunks, malformed = packet
    body = b"".join(struct.pack("!BBH", kind, flags, 4) for kind, flags in chunks)
    if malformed:
        body += (b"\0\0\0\0", b"\0\0", b"\0\0\0\0\0\0\0\0")[number % 3]
    return ports(1, 2, bytes(8)) + body


@pytest.mark.parametrize("types", sctp.LISTS)
@pytest.mark.parametrize("mode", ["any", "all", "only"])
def test_sctp_chunks(judge: Judge, mode: str, types: str) -> None:
    packets = sctp.packets()[:100]
    # A packet without any chunk is malformed by having nothing to read.
    payloads = [sctp_bytes(packet, number) for number, packet in enumerate(packets)]
    sent = [
        Sent(ipv4(SCTP, payload), sctp.fields_of(packet))
        for payload, packet in zip(payloads, packets, strict=True)
    ]
    agree(judge, V4, f"-p sctp --chunk-types {mode} {types}", sent)
    agree(judge, V4, f"-p sctp ! --chunk-types {mode} {types}", sent)


def dccp_bytes(kind: int, extended: int, doff: int, rest: bytes) -> bytes:
    return ports(1, 2) + struct.pack("!BBHBBH", doff, 0, 0, kind << 1 | extended, 0, 1) + rest


#: Header, bytes of options, and what is found there.
DCCP_PACKETS: list[tuple[bytes, Values]] = [
    # Type DATA has no more header than 12 bytes, 16 with long sequence numbers.
    (dccp_bytes(2, 0, 3, b""), {}),
    (dccp_bytes(2, 0, 2, b""), {"dccpopt_guard": 2}),
    (dccp_bytes(2, 1, 3, bytes(4)), {"dccpopt_guard": 2}),
    (dccp_bytes(2, 0, 5, bytes(4)), {"dccpopt_guard": 2}),
    (dccp_bytes(2, 0, 4, b"\x21\x04\x22\x22"), {"dccp_options": bits(0x21)}),
    (dccp_bytes(2, 0, 4, b"\x00\x01\x22\x02"), {"dccp_options": bits(0, 1, 0x22)}),
    (dccp_bytes(2, 0, 4, b"\x23\x00\x22\x21"), {"dccp_options": bits(0x23, 0, 0x22)}),
    (dccp_bytes(2, 0, 4, b"\x23\x03\x21\x21"), {"dccp_options": bits(0x23, 0x21)}),
    # ACK (3) has 8 bytes more, REQUEST (0) 4, RESPONSE (1), RESET (7) and unknown types 12.
    (dccp_bytes(3, 0, 6, bytes(8) + b"\x21\0\0\0"), {"dccp_options": bits(0x21, 0)}),
    (dccp_bytes(0, 0, 5, bytes(4) + b"\x22\x02\x21\x02"), {"dccp_options": bits(0x22, 0x21)}),
    (dccp_bytes(7, 1, 7, bytes(16)), {}),
    (dccp_bytes(12, 0, 5, bytes(8)), {"dccpopt_guard": 2}),
]


@pytest.mark.parametrize(
    "given",
    [
        "--dccp-types DATA",
        "! --dccp-types DATA,INVALID",
        "--dccp-types INVALID",
        "--dccp-option 33",
        "! --dccp-option 33",
        "! --dccp-option 34",
        "--dccp-types DATA ! --dccp-option 33",
        "--sport 2 ! --dccp-option 33",
    ],
)
def test_dccp(judge: Judge, given: str) -> None:
    sent, sent6 = [], []
    for packet, found in DCCP_PACKETS:
        values = {"sport": 1, "dport": 2, "dccp_type": packet[8] >> 1, **found}
        sent.append(Sent(ipv4(DCCP, packet), values))
        sent6.append(Sent(ipv6(DCCP, packet), values))
    agree(judge, V4, f"-p dccp {given}", sent)
    agree(judge, V6, f"-p dccp {given}", sent6)


@pytest.mark.parametrize(
    ("given", "family"),
    [
        ("--src-range 127.0.0.1-127.0.0.9", V4),
        ("! --dst-range 127.0.0.2-127.0.0.9", V4),
        ("! --src-range 127.0.0.9-127.0.0.1", V4),
        ("--src-range ::1-::2", V6),
        ("--dst-range ::2-1::", V6),
        ("! --dst-range 1::-::1", V6),
    ],
)
def test_iprange(judge: Judge, given: str, family: Family) -> None:
    address = 0x7F000001 if family is V4 else (0, 0, 0, 1)
    packet = ipv4(250, b"") if family is V4 else ipv6(250, b"")
    agree(
        judge, family, f"-m iprange {given}", [Sent(packet, {"saddr": address, "daddr": address})]
    )


@pytest.mark.parametrize(
    "words",
    [
        "-m mark --mark 5/7",
        "-m mark ! --mark 9/7",
        "-m mark --mark 0/0",
        "-m connmark --mark 0",
        "-m connmark ! --mark 1",
    ],
)
def test_marks(judge: Judge, words: str) -> None:
    mark = 0xD
    judge.sockets[V4].setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    # connmark brings connection tracking, which gives this packet a new, unmarked connection.
    sent = [Sent(ipv4(250, b""), {"mark": mark, "ct_present": 1, "ct_mark": 0})]
    try:
        agree(judge, V4, words, sent)
    finally:
        judge.sockets[V4].setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0)
