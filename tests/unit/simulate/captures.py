"""Capture files as bytes, written here by the formats' own descriptions."""

from __future__ import annotations

import struct
from collections.abc import Sequence

ETHERNET, RAW = 1, 101


def pcap(
    frames: Sequence[bytes], link: int = ETHERNET, order: str = "<", snap: int = 65535
) -> bytes:
    """Write a pcap file; frames are cut to `snap` bytes."""
    out = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, link)
    for frame in frames:
        kept = frame[:snap]
        out += struct.pack(f"{order}IIII", 1, 2, len(kept), len(frame)) + kept
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = ETHERNET, order: str = "<", snap: int = 0) -> bytes:
    name = struct.pack(f"{order}HH", 2, 4) + b"eth0" + bytes(4)
    return block(1, struct.pack(f"{order}HHI", link, 0, snap) + name, order)


def enhanced(frame: bytes, number: int = 0, order: str = "<", length: int | None = None) -> bytes:
    real = len(frame) if length is None else length
    body = struct.pack(f"{order}IIIII", number, 0, 0, len(frame), real) + frame
    return block(6, body, order)


def simple(frame: bytes, order: str = "<") -> bytes:
    return block(3, struct.pack(f"{order}I", len(frame)) + frame, order)


def obsolete(frame: bytes, number: int = 0, order: str = "<") -> bytes:
    body = struct.pack(f"{order}HHIIII", number, 0, 0, 0, len(frame), len(frame)) + frame
    return block(2, body, order)
