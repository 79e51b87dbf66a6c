"""Frames of every link layer come out as the packets that the stack would hand to the hooks."""

from __future__ import annotations

import pytest

from bpfilter.errors import CaptureError
from bpfilter.simulate.link import Skipped, unwrap
from bpfilter.simulate.packet import Packet, PacketType
from bpfilter.simulate.pcap import Frame
from bpfilter.simulate.text import parse_packet

V4 = parse_packet("udp 192.0.2.7:4000 > 198.51.100.9:53").data
V6 = parse_packet("udp [2001:db8::1]:4000 > [2001:db8::2]:53").data
MACS = bytes.fromhex("02000000000a02000000000b")


def frame(link_type: int, data: bytes, length: int = 0, little_endian: bool = True) -> Frame:
    return Frame(data, length or len(data), link_type, little_endian)


def packet(found: Packet | Skipped) -> Packet:
    assert isinstance(found, Packet), found
    return found


@pytest.mark.parametrize(("kind", "data"), [(b"\x08\x00", V4), (b"\x86\xdd", V6)])
def test_ethernet(kind: bytes, data: bytes) -> None:
    found = packet(unwrap(frame(1, MACS + kind + data)))
    assert (found.data, found.link) == (data, MACS + kind)


@pytest.mark.parametrize(
    ("destination", "kind"),
    [
        ("02000000000a", PacketType.UNICAST),
        ("ffffffffffff", PacketType.BROADCAST),
        ("01005e000001", PacketType.MULTICAST),
        ("3333ff000001", PacketType.MULTICAST),
    ],
)
def test_packet_type_is_that_of_the_destination(destination: str, kind: PacketType) -> None:
    data = bytes.fromhex(destination) + MACS[6:] + b"\x08\x00" + V4
    assert packet(unwrap(frame(1, data))).kind is kind


@pytest.mark.parametrize("tags", ["8100 0005", "88a8 0005 8100 6000"])
def test_vlan_tags_are_taken_out(tags: str) -> None:
    data = MACS + bytes.fromhex(tags) + b"\x08\x00" + V4
    assert packet(unwrap(frame(1, data))).link == MACS + b"\x08\x00"
    assert packet(unwrap(frame(1, data))).data == V4


def test_padding_of_short_frames_is_no_part_of_the_packet() -> None:
    assert packet(unwrap(frame(1, MACS + b"\x08\x00" + V4 + bytes(18)))).data == V4
    assert packet(unwrap(frame(1, MACS + b"\x86\xdd" + V6 + bytes(3)))).data == V6


def test_what_was_not_captured_still_counts() -> None:
    long = parse_packet("udp 192.0.2.7:4000 > 198.51.100.9:53 len=1000").data
    found = packet(unwrap(frame(1, (MACS + b"\x08\x00" + long)[:64], 1014)))
    assert (len(found.data), found.length) == (50, 1000)
    assert packet(unwrap(frame(101, long))).length == 0


@pytest.mark.parametrize("link_type", [12, 14, 101, 228, 229])
@pytest.mark.parametrize("data", [V4, V6])
def test_raw(link_type: int, data: bytes) -> None:
    assert packet(unwrap(frame(link_type, data))) == Packet(data)


@pytest.mark.parametrize(
    ("link_type", "header", "little_endian", "data"),
    [
        (0, "02000000", True, V4),
        (0, "00000002", False, V4),
        (0, "1e000000", True, V6),
        (0, "0a000000", True, V6),
        (108, "00000002", True, V4),
        (108, "00000018", True, V6),
    ],
)
def test_loopback(link_type: int, header: str, little_endian: bool, data: bytes) -> None:
    made = frame(link_type, bytes.fromhex(header) + data, little_endian=little_endian)
    assert packet(unwrap(made)).data == data


COOKED = "{kind:04x} 0001 0006 02000000000b 0000 0800"
COOKED2 = "0800 0000 00000003 0001 {kind:02x} 06 02000000000b 0000"


@pytest.mark.parametrize(("link_type", "form"), [(113, COOKED), (276, COOKED2)])
@pytest.mark.parametrize(
    ("number", "kind"), [(0, PacketType.UNICAST), (1, PacketType.BROADCAST), (4, None)]
)
def test_cooked(link_type: int, form: str, number: int, kind: PacketType | None) -> None:
    found = packet(unwrap(frame(link_type, bytes.fromhex(form.format(kind=number)) + V4)))
    assert (found.data, found.kind) == (V4, kind)
    # Of a packet sent by this machine, the address is its own.
    assert found.link == (b"" if kind is None else bytes(6) + MACS[6:] + b"\x08\x00")


def test_cooked_with_a_tag() -> None:
    cooked = bytes.fromhex(COOKED.format(kind=0))[:-2] + bytes.fromhex("8100 0005 0800")
    assert packet(unwrap(frame(113, cooked + V4))).data == V4
    cooked2 = b"\x81\x00" + bytes.fromhex(COOKED2.format(kind=0))[2:] + bytes.fromhex("0005 0800")
    assert packet(unwrap(frame(276, cooked2 + V4))).data == V4


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (frame(1, MACS + b"\x08\x06" + bytes(28)), "no IP packet"),
        (frame(1, MACS + b"\x00\x26" + bytes(38)), "no IP packet"),
        (frame(1, MACS), "Ethernet header cut short"),
        (frame(1, MACS + b"\x81\x00"), "no IP packet"),
        (frame(1, MACS + b"\x08\x00" + V6), "no IP packet"),
        (frame(101, b""), "no IP packet"),
        (frame(0, b"\x07\0\0\0" + V4), "no IP packet"),
        (frame(113, bytes(15)), "cooked header cut short"),
        (frame(276, bytes(19)), "cooked header cut short"),
        (frame(276, bytes(40)), "no IP packet"),
        (frame(101, V4[:19]), "captured without a whole IP header"),
        (frame(101, changed(V4, 0, b"\x44")), "malformed IP header"),
        (frame(101, changed(V4, 2, b"\0\x13")), "malformed IP header"),
        (frame(101, V4[:-1]), "shorter than its header says"),
        (frame(101, V6[:-1]), "shorter than its header says"),
    ],
)
def test_what_no_rule_sees_is_skipped(made: Frame, reason: str) -> None:
    found = unwrap(made)
    assert isinstance(found, Skipped)
    assert found.reason.startswith(reason)


def test_lengths_of_zero_are_those_of_large_packets() -> None:
    assert packet(unwrap(frame(101, changed(V4, 2, b"\0\0")))).data == changed(V4, 2, b"\0\0")
    assert len(packet(unwrap(frame(101, changed(V6, 4, b"\0\0")))).data) == len(V6)


def test_other_link_types_are_an_error() -> None:
    with pytest.raises(CaptureError, match="link type 127"):
        unwrap(frame(127, V4))
