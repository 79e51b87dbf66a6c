"""Capture files: every form read, and nothing that is not one believed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter, wrpcap

from bpfilter.errors import CaptureError
from bpfilter.simulate.pcap import Capture, Frame
from tests.unit.simulate import captures
from tests.unit.simulate.captures import pcap

FRAMES = [b"first frame", b"", bytes(range(256)) * 6]
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def read(data: bytes) -> tuple[list[Frame], bool]:
    capture = Capture(io.BytesIO(data))
    return list(capture), capture.truncated


@ORDERS
def test_pcap(order: str) -> None:
    frames, truncated = read(pcap(FRAMES, order=order))
    assert [frame.data for frame in frames] == FRAMES
    assert frames[0] == Frame(b"first frame", 11, captures.ETHERNET, order == "<")
    assert not truncated


def test_nanosecond_pcap() -> None:
    data = pcap(FRAMES).replace(struct.pack("<I", 0xA1B2C3D4), struct.pack("<I", 0xA1B23C4D), 1)
    assert len(read(data)[0]) == 3


def test_link_type_shares_its_word() -> None:
    data = bytearray(pcap(FRAMES))
    data[23] = 0x14  # frame check sequences of 4 bytes: present, and how long
    assert read(bytes(data))[0][0].link_type == captures.ETHERNET


def test_frames_keep_their_length_when_cut() -> None:
    frames, _ = read(pcap(FRAMES, snap=64))
    assert [(len(frame.data), frame.length) for frame in frames] == [(11, 11), (0, 0), (64, 1536)]


@ORDERS
def test_pcapng(order: str) -> None:
    data = captures.section(order) + captures.interface(order=order)
    data += captures.interface(captures.RAW, order)
    data += captures.enhanced(FRAMES[0], order=order) + captures.block(0x0BAD, b"?", order)
    data += captures.enhanced(FRAMES[2], 1, order, length=9000)
    data += captures.simple(FRAMES[2], order) + captures.obsolete(b"old", 1, order)
    frames, truncated = read(data)
    assert [frame.data for frame in frames] == [FRAMES[0], FRAMES[2], FRAMES[2], b"old"]
    assert [frame.link_type for frame in frames] == [1, 101, 1, 101]
    assert frames[1].length == 9000
    assert not truncated


def test_sections_have_byte_orders_and_interfaces_of_their_own() -> None:
    data = captures.section("<") + captures.interface(order="<") + captures.enhanced(b"little")
    data += captures.section(">") + captures.interface(captures.RAW, ">")
    data += captures.enhanced(b"big", order=">")
    frames, _ = read(data)
    assert [(frame.data, frame.link_type, frame.little_endian) for frame in frames] == [
        (b"little", 1, True),
        (b"big", 101, False),
    ]


def test_simple_packets_are_cut_to_the_interface() -> None:
    data = captures.section() + captures.interface(snap=5)
    body = struct.pack("<I", 11) + b"first"
    frames, _ = read(data + captures.block(3, body))
    assert frames == [Frame(b"first", 11, 1, True)]


def test_files_that_scapy_writes(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x800) / b"payload"
    wrpcap(str(path), [packet, packet])
    assert [frame.data for frame in read(path.read_bytes())[0]] == [bytes(packet)] * 2
    with PcapNgWriter(str(path)) as writer:
        writer.write([packet])
    assert [frame.data for frame in read(path.read_bytes())[0]] == [bytes(packet)]


@pytest.mark.parametrize(
    "whole",
    [
        pcap(FRAMES),
        captures.section() + captures.interface() + b"".join(map(captures.enhanced, FRAMES)),
    ],
    ids=["pcap", "pcapng"],
)
def test_all_whole_frames_of_a_truncated_file_are_there(whole: bytes) -> None:
    everything, _ = read(whole)
    ends = 0
    for end in range(28, len(whole)):
        frames, truncated = read(whole[:end])
        assert frames == everything[: len(frames)]
        ends += not truncated
    assert ends == (2 if whole[0] == 0xD4 else 4)  # at the end of a frame or block


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short"),
        (b"\xd4\xc3\xb2", "too short"),
        (b"GIF89a" + bytes(100), "neither pcap nor pcapng"),
        (pcap([])[:20], "ends within its header"),
        (pcap([]) + struct.pack("<IIII", 0, 0, 1 << 25, 1 << 25), "a packet of 33554432 bytes"),
        (struct.pack("<III", 0x0A0D0D0A, 28, 0xBADBAD), "malformed"),
        (captures.section() + struct.pack("<II", 6, 13) + bytes(20), "malformed"),
        (captures.section() + captures.enhanced(b"x"), "type 6 is malformed"),
        (captures.section() + captures.simple(b"x"), "type 3 is malformed"),
        (captures.section() + captures.block(1, b""), "type 1 is malformed"),
        (captures.section() + captures.interface()[:-4] + bytes(4), "two lengths"),
        (
            captures.section()
            + captures.interface()
            + captures.block(6, struct.pack("<IIIII", 0, 0, 0, 50, 50)),
            "longer than its block",
        ),
    ],
)
def test_what_is_no_capture_is_said_so(data: bytes, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        read(data)


@given(st.data())
def test_damage_is_noticed_or_harmless(data: st.DataObject) -> None:
    whole = captures.section() + captures.interface() + b"".join(map(captures.enhanced, FRAMES))
    damaged = bytearray(data.draw(st.sampled_from([whole, pcap(FRAMES)])))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(damaged))
    except CaptureError as error:
        assert str(error)  # noqa: PT017 - either outcome is fine
