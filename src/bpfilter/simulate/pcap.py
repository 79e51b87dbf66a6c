"""Packets from capture files, one at a time: pcap and pcapng, either byte order.

Formats: pcap-savefile(5), and draft-ietf-opsawg-pcapng. A file that ends in the middle of a
packet gives all packets before; `Capture.truncated` then says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from bpfilter.dataclass import dataclass
from bpfilter.errors import CaptureError

#: A block or record that claims to be larger is taken for garbage.
LARGEST_BLOCK = 1 << 24

# First four bytes of a pcap file in its own byte order: times in micro- or nanoseconds.
_PCAP_MAGIC = (0xA1B2C3D4, 0xA1B23C4D)
_PCAP_HEADER_BYTES = 24
_PCAP_RECORD_BYTES = 16

# Block types of pcapng.
_SECTION = 0x0A0D0D0A  # the same in both byte orders
_INTERFACE = 1
_PACKET = 2  # obsolete
_SIMPLE_PACKET = 3
_ENHANCED_PACKET = 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D


@dataclass(frozen=True, slots=True)
class Frame:
    """What was captured of a frame of `length` bytes; `link_type` is LINKTYPE_*.

    `little_endian` is the byte order of the machine that wrote it.
    """

    data: bytes
    length: int
    link_type: int
    little_endian: bool


class Capture:
    """The frames of a file, to be iterated over once."""

    def __init__(self, file: BinaryIO) -> None:
        self.truncated = False
        self._file = file
        self._offset = 0
        self._started = 0  # where the block at hand begins

    def __iter__(self) -> Iterator[Frame]:
        """Raises: CaptureError if the file is no capture, or goes wrong."""
        magic = self._read(4)
        if magic is None:
            raise CaptureError("the file is too short for a capture")
        for order in ("<", ">"):
            if struct.unpack(f"{order}I", magic)[0] in _PCAP_MAGIC:
                yield from self._pcap(order)
                return
        if int.from_bytes(magic, "big") != _SECTION:
            raise CaptureError("the file is neither pcap nor pcapng")
        yield from self._pcapng()

    def _read(self, nbytes: int) -> bytes | None:
        # None at the end of the file; sets `truncated` if that comes in the middle.
        data = self._file.read(nbytes)
        self._offset += len(data)
        if len(data) == nbytes:
            return data
        self.truncated = bool(data) or self._offset != self._started
        return None

    def _pcap(self, order: str) -> Iterator[Frame]:
        rest = self._read(_PCAP_HEADER_BYTES - 4)
        if rest is None:
            raise CaptureError("the file ends within its header", self._offset)
        # The upper bits of the word may tell the length of a frame check sequence.
        link_type = struct.unpack(f"{order}16xI", rest)[0] & 0xFFFF
        while True:
            self._started = self._offset
            header = self._read(_PCAP_RECORD_BYTES)
            if header is None:
                return
            captured, length = struct.unpack(f"{order}8xII", header)
            if captured > LARGEST_BLOCK:
                raise CaptureError(f"a packet of {captured} bytes", self._started)
            data = self._read(captured)
            if data is None:
                return
            yield Frame(data, max(length, captured), link_type, order == "<")

    def _pcapng(self) -> Iterator[Frame]:
        order = ""
        interfaces: list[tuple[int, int]] = []  # link type, snapshot length
        kind: bytes | None = _SECTION.to_bytes(4, "big")
        while kind is not None:
            if int.from_bytes(kind, "big") == _SECTION:
                order, interfaces = "", []
            found = self._block(order, kind)
            if found is None:
                return
            order, body = found
            frame = self._frame(order, _number(order, kind), body, interfaces)
            if frame is not None:
                yield frame
            self._started = self._offset
            kind = self._read(4)

    def _block(self, order: str, kind: bytes) -> tuple[str, bytes] | None:
        # Read a block after its type: its byte order, and what is between its two lengths.
        start = self._read(4)
        magic = b""
        if not order:
            magic = self._read(4) or b""
            order = _section_order(magic)
        if start is None:
            return None
        length = _number(order or "<", start)
        if not order or length % 4 or not 12 + len(magic) <= length <= LARGEST_BLOCK:
            if self.truncated:
                return None
            raise CaptureError(f"a block of type {kind.hex()} is malformed", self._started)
        body = self._read(length - 12 - len(magic))
        end = None if body is None else self._read(4)
        if body is None or end is None:
            return None
        if end != start:
            raise CaptureError("the two lengths of a block differ", self._started)
        return order, magic + body

    def _frame(
        self, order: str, kind: int, body: bytes, interfaces: list[tuple[int, int]]
    ) -> Frame | None:
        try:
            if kind == _INTERFACE:
                interfaces.append(struct.unpack_from(f"{order}H2xI", body))
                return None
            if kind in (_ENHANCED_PACKET, _PACKET):
                form = "I" if kind == _ENHANCED_PACKET else "H2x"
                number, captured, length = struct.unpack_from(f"{order}{form}8xII", body)
                data = body[20 : 20 + captured]
            elif kind == _SIMPLE_PACKET:
                number, length = 0, struct.unpack_from(f"{order}I", body)[0]
                snapshot = interfaces[0][1] or length
                captured = min(length, snapshot, len(body) - 4)
                data = body[4 : 4 + captured]
            else:
                return None
            link_type = interfaces[number][0]
        except (struct.error, IndexError) as error:
            raise CaptureError(f"a block of type {kind} is malformed", self._started) from error
        if len(data) < captured:
            raise CaptureError("a packet is longer than its block", self._started)
        return Frame(data, max(length, captured), link_type, order == "<")


def _section_order(magic: bytes) -> str:
    for order in ("<", ">"):
        if len(magic) == 4 and _number(order, magic) == _BYTE_ORDER_MAGIC:
            return order
    return ""


def _number(order: str, data: bytes) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")
