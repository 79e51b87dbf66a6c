"""Packets as bytes: header builders by struct packing, checksums right unless asked otherwise."""

from __future__ import annotations

import socket
import struct
from functools import lru_cache

ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q = 0x0800, 0x86DD, 0x8100

ICMP, IGMP, IPIP, TCP, UDP, DCCP, IPV6, GRE, ESP, AH = 1, 2, 4, 6, 17, 33, 41, 47, 50, 51
ICMPV6, SCTP, UDPLITE = 58, 132, 136
HOPOPTS, ROUTING, FRAGMENT, NONE, DSTOPTS, MOBILITY = 0, 43, 44, 59, 60, 135


@lru_cache(1024)
def address(text: str) -> bytes:
    """Give 4 or 16 bytes of an address in text."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@lru_cache(64)
def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """Compute the Internet checksum (RFC 1071), as it is stored big-endian."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def put16(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + value.to_bytes(2, "big") + data[offset + 2 :]


#: Where each protocol keeps a checksum over the pseudo header; ICMP has none of that.
CHECKSUM_AT = {TCP: 16, UDP: 6, ICMPV6: 2, DCCP: 6, UDPLITE: 6}


def with_checksum(protocol: int, source: bytes, destination: bytes, data: bytes) -> bytes:
    """Fill in the transport checksum, if the protocol has one and its field is there."""
    if protocol == ICMP and len(data) >= 4:
        return put16(data, 2, checksum(put16(data, 2, 0)))
    at = CHECKSUM_AT.get(protocol)
    if at is None or len(data) < at + 2:
        return data
    pseudo = source + destination + struct.pack(">II", len(data), protocol)
    return put16(data, at, checksum(pseudo + put16(data, at, 0)) or 0xFFFF)


def ethernet(destination: str, source: str, kind: int, payload: bytes) -> bytes:
    return mac(destination) + mac(source) + kind.to_bytes(2, "big") + payload


def tagged(frame: bytes, tag: int) -> bytes:
    """Insert an 802.1Q tag: priority (3 bits), drop eligible (1), VLAN id (12)."""
    return frame[:12] + struct.pack(">HH", ETH_P_8021Q, tag) + frame[12:]


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 0,
    offset: int = 0,
    flags: int = 0,
    options: bytes = b"",
    length: int | None = None,
    header_words: int | None = None,
    version: int = 4,
) -> bytes:
    """Build an IPv4 packet; `offset` in 8 bytes, `flags` DF 2 and MF 1, options padded to 4."""
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4
    header = struct.pack(
        ">BBHHHBBH4s4s",
        version << 4 | (words if header_words is None else header_words),
        tos,
        20 + len(options) + len(payload) if length is None else length,
        ident,
        flags << 13 | offset,
        ttl,
        protocol,
        0,
        address(source),
        address(destination),
    )
    header += options
    return put16(header, 10, checksum(header)) + payload


def ipv6(
    source: str,
    destination: str,
    next_header: int,
    payload: bytes,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow: int = 0,
    length: int | None = None,
    version: int = 6,
) -> bytes:
    """Build an IPv6 packet; `payload` starts with the header `next_header` names."""
    return (
        struct.pack(
            ">IHBB16s16s",
            version << 28 | traffic_class << 20 | flow,
            len(payload) if length is None else length,
            next_header,
            hop_limit,
            address(source),
            address(destination),
        )
        + payload
    )


def tcp(
    sport: int,
    dport: int,
    flags: int,
    *,
    seq: int = 1,
    ack: int = 0,
    options: bytes = b"",
    words: int | None = None,
    window: int = 8192,
    reserved: int = 0,
    payload: bytes = b"",
) -> bytes:
    """Build a TCP segment without checksum; `flags` is byte 13, `words` the data offset."""
    options += b"\0" * (-len(options) % 4)
    data_offset = 5 + len(options) // 4 if words is None else words
    header = struct.pack(
        ">HHIIBBHHH",
        *(sport, dport, seq, ack),
        *(data_offset << 4 | reserved, flags, window, 0, 0),
    )
    return header + options + payload


def udp(sport: int, dport: int, payload: bytes, length: int | None = None) -> bytes:
    """Build a UDP or UDP-Lite datagram without checksum (`length` is coverage there)."""
    return (
        struct.pack(">HHHH", sport, dport, 8 + len(payload) if length is None else length, 0)
        + payload
    )


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    return struct.pack(">BBH", kind, code, 0) + rest


def sctp(sport: int, dport: int, tag: int, chunks: bytes) -> bytes:
    """Build an SCTP packet; the checksum stays zero, nothing here verifies it."""
    return struct.pack(">HHII", sport, dport, tag, 0) + chunks


def chunk(kind: int, flags: int, body: bytes, length: int | None = None) -> bytes:
    """Build an SCTP chunk, padded to 4 bytes; `length` is what its header claims."""
    claimed = 4 + len(body) if length is None else length
    return struct.pack(">BBH", kind, flags, claimed) + body + b"\0" * (-len(body) % 4)


def dccp(
    sport: int, dport: int, kind: int, words: int, options: bytes, extended: int = 1
) -> bytes:
    """Build a DCCP header of 16 bytes (long sequence numbers) and what follows it."""
    return (
        struct.pack(
            ">HHBBHBBHI",
            *(sport, dport, words, 0, 0, kind << 1 | extended, 0, 0, 7),
        )
        + options
    )


def ah(next_header: int, spi: int, words: int = 4, reserved: int = 0) -> bytes:
    """Build an authentication header: `words` is its length in 4 bytes minus 2."""
    return struct.pack(">BBHII", next_header, words, reserved, spi, 1) + bytes(
        max(0, (words + 2) * 4 - 12)
    )


def options_header(next_header: int, options: bytes, units: int | None = None) -> bytes:
    """Build a hop-by-hop or destination options header, padded to 8 bytes with PadN or Pad1."""
    short = -(len(options) + 2) % 8
    if short == 1:
        options += b"\0"
    elif short:
        options += bytes([1, short - 2]) + bytes(short - 2)
    length = (len(options) + 2) // 8 - 1 if units is None else units
    return bytes([next_header, length]) + options


def routing_header(
    next_header: int, kind: int, segments_left: int, body: bytes, units: int | None = None
) -> bytes:
    """Build a routing header; `body` follows the first 4 bytes."""
    body += b"\0" * (-(len(body) + 4) % 8)
    length = (len(body) + 4) // 8 - 1 if units is None else units
    return bytes([next_header, length, kind, segments_left]) + body


def fragment_header(
    next_header: int, offset: int, more: bool, ident: int, reserved: int = 0, low: int = 0
) -> bytes:
    """Build a fragment header: `offset` in 8 bytes, `low` the two reserved bits above M."""
    return struct.pack(">BBHI", next_header, reserved, offset << 3 | low << 1 | more, ident)
