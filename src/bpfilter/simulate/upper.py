"""Where a packet's transport header is, for what describes packets to people and connections.

Verdicts never depend on this: programs find their headers themselves.
"""

from __future__ import annotations

from bpfilter.abi.packet import EXTHDR, FRAGMENT, IPV4, IPV6
from bpfilter.dataclass import dataclass

_UNITS = {EXTHDR.HOP: 8, EXTHDR.ROUTING: 8, EXTHDR.DEST: 8}


@dataclass(frozen=True, slots=True)
class UpperLayer:
    """`offset` counts from the network header; `fragment_offset` is in bytes."""

    protocol: int
    offset: int
    fragment_offset: int = 0
    more_fragments: bool = False

    @property
    def first(self) -> bool:
        """Whether the header is in this packet: not a later fragment."""
        return self.fragment_offset == 0

    @property
    def is_fragment(self) -> bool:
        return self.fragment_offset != 0 or self.more_fragments


def upper_layer(data: bytes) -> UpperLayer:
    """Find the transport header; beyond the end of a packet cut short."""
    if data[:1] and data[0] >> 4 == 4:
        field = int.from_bytes(data[IPV4.FRAG_OFF : IPV4.FRAG_OFF + 2], "big")
        return UpperLayer(
            int.from_bytes(data[IPV4.PROTOCOL : IPV4.PROTOCOL + 1], "big"),
            (data[0] & IPV4.IHL_MASK) * 4,
            (field & IPV4.OFFSET_MASK) * 8,
            bool(field & 0x2000),
        )
    return _ipv6(data)


def _ipv6(data: bytes) -> UpperLayer:
    kind = int.from_bytes(data[IPV6.NEXTHDR : IPV6.NEXTHDR + 1], "big")
    at, offset, more = IPV6.BYTES, 0, False
    while at + 8 <= len(data) and offset == 0:
        if kind in _UNITS:
            length = (data[at + EXTHDR.LENGTH] + 1) * 8
        elif kind == EXTHDR.FRAGMENT:
            length = FRAGMENT.BYTES
            field = int.from_bytes(data[at + FRAGMENT.OFFSET : at + FRAGMENT.OFFSET + 2], "big")
            offset, more = field & FRAGMENT.OFFSET_MASK, bool(field & FRAGMENT.MORE)
        else:
            break
        kind = data[at + EXTHDR.NEXTHDR]
        at += length
    return UpperLayer(kind, at, offset, more)
