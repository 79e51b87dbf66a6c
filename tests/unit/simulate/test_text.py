"""Packets as text: what is written comes out in the bytes, and faults have their place."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.sctp import SCTP

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules.model import Family
from bpfilter.simulate.describe import describe
from bpfilter.simulate.packet import Packet
from bpfilter.simulate.text import HELP, parse_packet

ENDS4, ENDS6 = "192.0.2.7:4000 > 198.51.100.9:22", "[2001:db8::1]:4000 > [2001:db8::2]:80"


def read4(text: str) -> Any:
    """Let scapy read what the text comes out as."""
    return IP(parse_packet(text, Family.IPV4).data)


def read6(text: str) -> Any:
    return IPv6(parse_packet(text, Family.IPV6).data)


def test_tcp_is_a_syn_unless_it_says_otherwise() -> None:
    packet = read4(f"tcp {ENDS4}")
    assert (packet.src, packet.dst) == ("192.0.2.7", "198.51.100.9")
    assert (packet[TCP].sport, packet[TCP].dport, packet[TCP].flags) == (4000, 22, "S")
    assert (packet.ttl, packet.tos, packet.id, packet.frag, packet.len) == (64, 0, 0, 0, 40)


def test_header_checksum_is_right() -> None:
    packet = read4(f"udp {ENDS4} ttl=7 id=77 len=100")
    written, packet.chksum = packet.chksum, None
    assert IP(bytes(packet)).chksum == written


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("none", ""),
        ("syn ack", "SA"),
        ("fin psh urg", "FPU"),
        ("rst", "R"),
        ("ece cwr syn", "SEC"),
        ("none ack", "A"),
    ],
)
def test_tcp_flags(words: str, flags: str) -> None:
    assert set(str(read4(f"tcp {ENDS4} {words}")[TCP].flags)) == set(flags)


def test_ports_by_name() -> None:
    packet = read4("udp 192.0.2.7:ntp > 198.51.100.9:domain")
    assert (packet[UDP].sport, packet[UDP].dport) == (123, 53)


def test_options_of_ipv4() -> None:
    packet = read4(f"udp {ENDS4} ttl=1 tos=0x10 id=513 len=128 df")
    assert (packet.ttl, packet.tos, packet.id, packet.len) == (1, 16, 513, 128)
    assert packet.flags == "DF"
    assert packet[UDP].len == 108
    assert len(packet) == 128


def test_options_of_ipv6() -> None:
    packet = read6(f"udp {ENDS6} ttl=255 tos=8 len=100")
    assert (packet.hlim, packet.tc, packet.plen) == (255, 8, 60)
    assert packet[UDP].len == 60


def test_mark_and_mac_go_beside_the_bytes() -> None:
    packet = parse_packet(f"tcp {ENDS4} mark=0x10 mac=02:00:00:00:00:7f")
    assert packet.mark == 16
    assert packet.link == bytes(6) + bytes.fromhex("02000000007f0800")
    assert parse_packet(f"tcp {ENDS4}").mark is None


def test_icmp_types() -> None:
    assert read4("icmp 192.0.2.7 > 198.51.100.9")[ICMP].type == 8
    assert read4("icmp 192.0.2.7 > 198.51.100.9 echo-reply")[ICMP].type == 0
    unreachable = read4("icmp 192.0.2.7 > 198.51.100.9 3/13")[ICMP]
    assert (unreachable.type, unreachable.code) == (3, 13)
    named = read4("icmp 192.0.2.7 > 198.51.100.9 host-prohibited")[ICMP]
    assert (named.type, named.code) == (3, 10)
    assert parse_packet("icmpv6 ::1 > ::2").data[40] == 128
    assert parse_packet("icmp6 ::1 > ::2 packet-too-big").data[40:42] == b"\2\0"


def test_other_protocols() -> None:
    assert parse_packet("esp ::1 > ::2 spi=256").data[40:44] == b"\0\0\1\0"
    assert parse_packet("ah 192.0.2.7 > 192.0.2.8 spi=7").data[24:28] == b"\0\0\0\7"
    assert read4("proto 253 192.0.2.7 > 192.0.2.8").proto == 253
    assert read4("proto gre 192.0.2.7 > 192.0.2.8 len=60").len == 60
    chunks = bytes(read4(f"sctp {ENDS4} init data")[SCTP].payload)
    assert chunks[0::4][:2] == b"\1\0"
    assert parse_packet(f"dccp {ENDS4} reset").data[28] >> 1 & 0xF == 7


def test_tcp_options() -> None:
    packet = read4(f"tcp {ENDS4} opt=2,1,254")
    assert packet[TCP].dataofs == 7
    assert parse_packet(f"tcp {ENDS4} opt=2,1,254").data[40:45] == b"\2\2\1\xfe\2"


def test_fragments() -> None:
    first = read4(f"tcp {ENDS4} frag=0+")
    assert (first.frag, first.flags, first[TCP].dport) == (0, "MF", 22)
    assert first.len % 8 == 4  # 20 bytes of header, and content in units of 8
    later = read4("tcp 192.0.2.7 > 198.51.100.9 frag=1480")
    assert (later.frag, later.flags, len(later.payload)) == (185, "", 8)
    six = read6("udp 2001:db8::1 > 2001:db8::2 frag=64+ id=70000 len=100")
    header = six[IPv6ExtHdrFragment]
    assert (header.nh, header.offset, header.m, header.id) == (17, 8, 1, 70000)


def test_any_bytes() -> None:
    data = parse_packet(f"tcp {ENDS4}").data
    assert parse_packet(f"hex {data.hex()}") == Packet(data)
    assert parse_packet(f"hex {data[:9].hex(' ')} {data[9:].hex()}") == Packet(data)


def fault(text: str, family: Family | None = None) -> tuple[str, str]:
    """Give the message of the error, and what its caret marks."""
    with pytest.raises(RuleSyntaxError) as caught:
        parse_packet(text, family)
    span = caught.value.span
    assert span is not None
    assert span.text == text
    assert "^" in span.caret()
    return caught.value.message, text[span.column - 1 : span.end - 1]


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "a protocol is missing", ""),
        ("tpc 1.2.3.4:5 > 6.7.8.9:10", "no protocol 'tpc' in packets", "tpc"),
        ("tcp 1.2.3.4:5", "'>' is missing", ""),
        ("tcp 1.2.3.4:5 >", "the destination address is missing", ""),
        ("tcp 1.2.3.4:5 6.7.8.9:10 x", "'>' expected between the addresses", "6.7.8.9:10"),
        ("tcp 1.2.3.4 > 6.7.8.9:10", "the port is missing", "1.2.3.4"),
        ("tcp 1.2.3.4:70000 > 6.7.8.9:10", "no port '70000'", "1.2.3.4:70000"),
        ("tcp 1.2.3.4:nix > 6.7.8.9:10", "no port 'nix'", "1.2.3.4:nix"),
        ("tcp 1.2.3.256:1 > 6.7.8.9:10", "'1.2.3.256' is no address", "1.2.3.256:1"),
        ("tcp ::1:80 > ::2:80", "the port is missing", "::1:80"),
        ("icmp 1.2.3.4:1 > 6.7.8.9", "there are no ports in such a packet", "1.2.3.4:1"),
        ("icmp 1.2.3.4 > 6.7.8.9 pingg", "'pingg' is no word for such a packet", "pingg"),
        ("icmp 1.2.3.4 > 6.7.8.9 256", "'256' is no word for such a packet", "256"),
        ("icmp 1.2.3.4 > 6.7.8.9 8 0", "'0' is no word for such a packet", "0"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 syn", "'syn' is no word for such a packet", "syn"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 ttl=256", "ttl is a number from 0 to 255", "256"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 ttl=x", "ttl is a number from 0 to 255", "x"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 tll=2", "no option 'tll'", "tll=2"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 ttl=2 ttl=3", "'ttl' is given twice", "ttl=3"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 len=27", "the headers alone are 28 bytes", "27"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 spi=1", "only esp and ah have an spi", "1"),
        ("udp 1.2.3.4:5 > 6.7.8.9:10 opt=1", "only tcp has such options", "1"),
        ("udp 1.2.3.4:5 > 6.7.8.9 frag=8", "there are no ports in such a packet", "1.2.3.4:5"),
        ("udp 1.2.3.4 > 6.7.8.9 frag=9", "frag is a multiple of 8", "9"),
        ("tcp 1.2.3.4:5 > 6.7.8.9:10 opt=300", "opt is up to 20 numbers", "300"),
        ("tcp 1.2.3.4:5 > 6.7.8.9:10 mac=2:3", "not a MAC address", "2:3"),
        ("proto nix 1.2.3.4 > 6.7.8.9", "no protocol 'nix'", "nix"),
        ("proto 256 1.2.3.4 > 6.7.8.9", "no protocol '256'", "256"),
        ("hex", "bytes in hexadecimal is missing", ""),
        ("hex 45x", "not bytes in hexadecimal", "45x"),
        ("hex 4500", "these bytes begin with no IP header", "4500"),
        ("tcp [::1]:5 > 6.7.8.9:10", "an IPv6 packet is needed here", "6.7.8.9:10"),
        ("tcp [::1]:5 > [::2]:6 df", "only IPv4 has df", ""),
    ],
)
def test_faults_are_told_with_their_place(text: str, message: str, place: str) -> None:
    said, marked = fault(text)
    assert said.startswith(message)
    assert marked.strip() == place


def test_the_other_family_is_a_fault() -> None:
    assert fault(f"tcp {ENDS6}", Family.IPV4)[0] == "an IPv4 packet is needed here"
    assert fault(f"tcp {ENDS4}", Family.IPV6)[0] == "an IPv6 packet is needed here"


def test_examples_of_the_help_are_packets() -> None:
    found = 0
    for line in HELP.splitlines():
        example = line.strip().split("  ")[0]
        if " > " in example and "A" not in example.split(" > ")[0]:
            parse_packet(example)
            found += 1
    assert found == 5


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_a_packet_or_a_fault(text: str) -> None:
    for line in (text, f"tcp {text}", f"udp {ENDS4} {text}", f"hex {text}"):
        try:
            parse_packet(line)
        except RuleSyntaxError as error:
            assert error.span is not None  # noqa: PT017 - either outcome is fine


ports = st.integers(0, 65535)
v4, v6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw packets in the words that `describe` uses."""
    address = draw(st.sampled_from([v4, v6]))
    source, destination = draw(address), draw(address)
    kind = draw(st.sampled_from(["tcp", "udp", "icmp", "esp", "proto 47"]))
    if kind in ("tcp", "udp"):
        ends = [
            f"{f'[{end}]' if end.version == 6 else end}:{draw(ports)}"
            for end in (source, destination)
        ]
        flags = draw(st.sets(st.sampled_from(["fin", "syn", "rst", "psh", "ack", "urg"])))
        ordered = [name for name in ("fin", "syn", "rst", "psh", "ack", "urg") if name in flags]
        words = " " + (" ".join(ordered) or "none") if kind == "tcp" else ""
        return f"{kind} {ends[0]} > {ends[1]}{words}"
    if kind == "icmp":
        kind = "icmp" if source.version == 4 else "icmpv6"
        return f"{kind} {source} > {destination} {draw(st.integers(140, 255))}"
    spi = f" spi={draw(st.integers(0, 2**32 - 1))}" if kind == "esp" else ""
    return f"{kind} {source} > {destination}{spi}"


@given(texts())
def test_description_is_what_was_written(text: str) -> None:
    assert describe(parse_packet(text)) == text


def test_descriptions_of_fragments_and_stumps() -> None:
    assert describe(parse_packet("tcp 192.0.2.7 > 192.0.2.8 frag=64+")).endswith("frag=64+")
    stump = parse_packet(f"tcp {ENDS4}").data[:22]
    assert describe(Packet(stump)) == "tcp 192.0.2.7 > 198.51.100.9"
    assert describe(Packet(parse_packet(f"tcp {ENDS6}").data[:40])).startswith("tcp 2001:db8::1 >")
    assert ip_address("2001:db8::1").packed in parse_packet(f"tcp {ENDS6}").data
