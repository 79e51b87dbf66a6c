"""Random transport headers: mostly well formed, sometimes wrong in every way there is."""

from __future__ import annotations

import random

from tests.harness import wire
from tests.harness.pools import (
    DCCP_OPTION_KINDS,
    ICMP6_TYPES,
    ICMP_TYPES,
    PORTS,
    SCTP_CHUNKS,
    SPIS,
    TCP_OPTION_KINDS,
    weighted,
)

#: Protocols by how often they are drawn; 253 is for experiments (RFC 3692).
COMMON = [
    (8.0, wire.TCP),
    (6.0, wire.UDP),
    (1.5, wire.UDPLITE),
    (2.5, wire.SCTP),
    (2.5, wire.DCCP),
    (1.0, wire.ESP),
    (0.4, wire.GRE),
    (0.3, 253),
]
V4_PROTOCOLS = [*COMMON, (4.0, wire.ICMP), (1.0, wire.AH), (0.2, wire.IPIP), (0.1, 0), (0.1, 58)]
V6_PROTOCOLS = [*COMMON, (4.0, wire.ICMPV6), (0.3, wire.NONE), (0.1, 1), (0.2, wire.MOBILITY)]

#: ICMPv6 that would start router, neighbour or group machinery when it is taken as valid.
STATEFUL_ICMP6 = (130, 131, 132, 133, 134, 135, 136, 137, 143)


def port(rng: random.Random) -> int:
    return rng.choice(PORTS) if rng.random() < 0.9 else rng.randrange(65536)


def tcp_options(rng: random.Random) -> bytes:
    """Draw TCP options; one in eight has a length that lies."""
    out = b""
    for _ in range(rng.choice((0, 0, 1, 2, 3, 5))):
        kind = rng.choice(TCP_OPTION_KINDS)
        if kind < 2:
            out += bytes([kind])
            continue
        size = rng.choice((0, 1, 2, 4, 8))
        claimed = rng.choice((0, 1, 3, 40, 255)) if rng.random() < 0.125 else size + 2
        out += bytes([kind, claimed]) + rng.randbytes(size)
    return out[:40]


def tcp(rng: random.Random, payload: bytes) -> bytes:
    flags = weighted(
        rng,
        [(4, 0x02), (2, 0x12), (4, 0x10), (2, 0x18), (1, 0x11), (1, 0x04), (0.5, 0), (0.5, 0x29)],
    )
    if rng.random() < 0.25:
        flags = rng.randrange(256)
    elif rng.random() < 0.2:
        flags |= rng.choice((0x40, 0x80, 0xC0))  # ECE, CWR
    words = rng.choice((0, 1, 4, 5, 6, 15)) if rng.random() < 0.08 else None
    return wire.tcp(
        port(rng),
        port(rng),
        flags,
        seq=rng.randrange(1 << 32),
        ack=rng.randrange(1 << 32),
        options=tcp_options(rng),
        words=words,
        reserved=rng.randrange(16) if rng.random() < 0.1 else 0,
        payload=payload,
    )


def udp(rng: random.Random, payload: bytes) -> bytes:
    length = rng.choice((0, 7, 8, 9, 65535)) if rng.random() < 0.1 else None
    return wire.udp(port(rng), port(rng), payload, length)


def sctp(rng: random.Random, payload: bytes) -> bytes:
    chunks = b""
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        kind = rng.choice(tuple(SCTP_CHUNKS.values())) if rng.random() < 0.9 else 77
        body = rng.randbytes(rng.choice((0, 1, 4, 12, 13)))
        claimed = rng.choice((0, 1, 3, 4, 999)) if rng.random() < 0.06 else None
        chunks += wire.chunk(kind, rng.choice((0, 1, 2, 3, 4, 7, 15, 255)), body, claimed)
    return wire.sctp(port(rng), port(rng), rng.choice((0, 1)), chunks + payload[:4])


def dccp(rng: random.Random, payload: bytes) -> bytes:
    options = b""
    for _ in range(rng.choice((0, 1, 2, 4))):
        kind = rng.choice(DCCP_OPTION_KINDS)
        if kind < 32:
            options += bytes([kind])
            continue
        size = rng.choice((0, 1, 4))
        claimed = rng.choice((0, 1, 200)) if rng.random() < 0.1 else size + 2
        options += bytes([kind, claimed]) + rng.randbytes(size)
    # What each type puts between the generic header and the options is drawn, not right.
    between = bytes(rng.choice((0, 4, 8, 12)))
    body = between + options + bytes(-len(options) % 4)
    words = (16 + len(body)) // 4
    if rng.random() < 0.1:
        words = rng.choice((0, 1, 3, 4, 200, 255))
    kind = rng.randrange(10) if rng.random() < 0.9 else rng.randrange(16)
    return wire.dccp(port(rng), port(rng), kind, words, body, rng.randrange(2)) + payload


def icmp(rng: random.Random, payload: bytes) -> bytes:
    kind, code = rng.choice(ICMP_TYPES)
    if rng.random() < 0.1:
        kind, code = rng.choice((0, 3, 8, 11, 14, 18, 255)), rng.randrange(256)
    return wire.icmp(kind, code, rng.randbytes(4) + payload)


def icmp6(rng: random.Random, payload: bytes) -> bytes:
    kind, code = rng.choice(ICMP6_TYPES)
    if rng.random() < 0.1:
        kind, code = rng.choice((1, 3, 100, 128, 139, 255)), rng.randrange(256)
    return wire.icmp(kind, code, rng.randbytes(4) + payload)


def transport(rng: random.Random, protocol: int, payload: bytes) -> bytes:
    """Give a header of `protocol` and `payload` behind it; no checksum yet."""
    if protocol == wire.TCP:
        return tcp(rng, payload)
    if protocol in (wire.UDP, wire.UDPLITE):
        return udp(rng, payload)
    if protocol == wire.SCTP:
        return sctp(rng, payload)
    if protocol == wire.DCCP:
        return dccp(rng, payload)
    if protocol == wire.ICMP:
        return icmp(rng, payload)
    if protocol == wire.ICMPV6:
        return icmp6(rng, payload)
    if protocol == wire.ESP:
        return rng.choice(SPIS).to_bytes(4, "big") + rng.randbytes(4) + payload
    if protocol == wire.AH:
        words = rng.choice((0, 1, 4, 5, 255)) if rng.random() < 0.2 else 4
        inner = wire.udp(port(rng), port(rng), payload)
        reserved = rng.choice((0, 0, 1))
        return wire.ah(wire.UDP, rng.choice(SPIS), min(words, 8), reserved) + inner
    return rng.randbytes(4) + payload
