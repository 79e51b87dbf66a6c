"""Headers as bytes. The only checksum is IPv4's own: rules read no other."""

from __future__ import annotations

import struct

from bpfilter.abi.packet import EXTHDR, IPPROTO, IPV4, TCP

#: Flags of TCP by the words used for them; bit 0 first (RFC 9293 section 3.1).
TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")


def ipv4(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 0,
    dont_fragment: bool = False,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """Build an IPv4 packet; `offset` in bytes, a multiple of 8."""
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        tos,
        IPV4.BYTES + len(payload),
        ident,
        dont_fragment << 14 | more << 13 | offset // 8,
        ttl,
        protocol,
        0,
        source,
        destination,
    )
    return header[:10] + checksum(header) + header[12:] + payload


def checksum(data: bytes) -> bytes:
    """Give the Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")


def ipv6(
    source: bytes,
    destination: bytes,
    next_header: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
) -> bytes:
    """Build an IPv6 packet; `ttl` is the hop limit, `tos` the traffic class."""
    return (
        struct.pack(
            ">IHBB16s16s", 6 << 28 | tos << 20, len(payload), next_header, ttl, source, destination
        )
        + payload
    )


def fragment(next_header: int, offset: int, more: bool, ident: int) -> bytes:
    """Build an IPv6 fragment header; `offset` in bytes, a multiple of 8."""
    return struct.pack(">BBHI", next_header, 0, offset | more, ident)


def tcp(sport: int, dport: int, flags: int, kinds: tuple[int, ...] = ()) -> bytes:
    """Build a TCP header with an option of each kind, its value empty."""
    options = b"".join(bytes([kind]) if kind < 2 else bytes([kind, 2]) for kind in kinds)
    options += bytes(-len(options) % 4)
    words = (TCP.BYTES + len(options)) // 4
    return struct.pack(">HHIIBBHHH", sport, dport, 1, 0, words << 4, flags, 0xFFFF, 0, 0) + options


def udp(sport: int, dport: int, payload_bytes: int) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + payload_bytes, 0)


def sctp(sport: int, dport: int, chunks: tuple[int, ...]) -> bytes:
    """Build an SCTP header and empty chunks of these types."""
    body = b"".join(struct.pack(">BBH", kind, 0, 4) for kind in chunks)
    return struct.pack(">HHII", sport, dport, 1, 0) + body


def dccp(sport: int, dport: int, kind: int) -> bytes:
    """Build a DCCP header with long sequence numbers, and room for what its type adds."""
    return struct.pack(">HHBBHBBHI", sport, dport, 7, 0, 0, kind << 1 | 1, 0, 0, 1) + bytes(12)


def icmp(kind: int, code: int) -> bytes:
    return struct.pack(">BBHHH", kind, code, 0, 1, 1)


def esp(spi: int) -> bytes:
    return struct.pack(">II", spi, 1)


def ah(spi: int, next_header: int = EXTHDR.NONE) -> bytes:
    """Build an authentication header with a check value of 12 bytes."""
    return struct.pack(">BBHII", next_header, 4, 0, spi, 1) + bytes(12)


#: Protocols with ports, by the words used for them.
PORT_PROTOCOLS = {
    "tcp": IPPROTO.TCP,
    "udp": IPPROTO.UDP,
    "udplite": IPPROTO.UDPLITE,
    "sctp": IPPROTO.SCTP,
    "dccp": IPPROTO.DCCP,
}
