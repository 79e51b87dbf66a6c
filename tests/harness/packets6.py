"""Random IPv6 packets: chains of extension headers, whole, repeated, truncated or lying."""

from __future__ import annotations

import random

from tests.harness import wire
from tests.harness.pools import FRAGMENT_IDS, HOPS, SPIS, TOS, TTLS, weighted
from tests.harness.transport import STATEFUL_ICMP6, transport

CHAIN = [
    (3.0, wire.HOPOPTS),
    (3.0, wire.DSTOPTS),
    (2.5, wire.ROUTING),
    (4.0, wire.FRAGMENT),
    (2.0, wire.AH),
    (0.3, 254),
]


def random_ipv6(
    rng: random.Random, source: str, destination: str, protocol: int, payload: bytes, number: int
) -> bytes:
    body = transport(rng, protocol, payload)
    hop_limit = rng.choice(TTLS) if rng.random() < 0.8 else rng.randrange(256)
    if protocol == wire.ICMPV6 and body[0] in STATEFUL_ICMP6 and hop_limit in (1, 255):
        hop_limit = 64  # only those two are believed, and would set off timers
    if rng.random() < 0.95:
        body = wire.with_checksum(protocol, wire.address(source), wire.address(destination), body)
    headers = [weighted(rng, CHAIN) for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3, 5)))]
    if wire.HOPOPTS in headers and rng.random() < 0.85:  # where it belongs: first, once
        headers = [wire.HOPOPTS, *(kind for kind in headers if kind != wire.HOPOPTS)]
    next_header, content = chain(rng, headers, protocol, body, number)
    length = None
    shape = rng.random()
    if shape < 0.12:
        content = content[: rng.randrange(len(content) + 1)]
    elif shape < 0.14:
        length = rng.choice((0, 1, 7, 8, 40, 65535, len(content) // 2))
    return wire.ipv6(
        source,
        destination,
        next_header,
        content,
        hop_limit=hop_limit,
        traffic_class=rng.choice(TOS),
        flow=rng.choice((0, 0, 0x12345)),
        length=length,
        version=6 if rng.random() < 0.997 else 5,
    )


def chain(
    rng: random.Random, headers: list[int], protocol: int, body: bytes, number: int
) -> tuple[int, bytes]:
    """Put extension headers before `body`, innermost first; give the first one's number too."""
    next_header = protocol
    for kind in reversed(headers):
        if kind in (wire.HOPOPTS, wire.DSTOPTS):
            body = options(rng, next_header) + body
        elif kind == wire.ROUTING:
            body = routing(rng, next_header) + body
        elif kind == wire.FRAGMENT:
            body = fragment(rng, next_header, body, number)
        elif kind == wire.AH:
            words = rng.choice((0, 1, 5, 200)) if rng.random() < 0.15 else rng.choice((2, 4))
            header = wire.ah(next_header, rng.choice(SPIS), 4, rng.choice((0, 0, 1, 0xFFFF)))
            body = header[:1] + bytes([words]) + header[2 : (min(words, 4) + 2) * 4] + body
        else:
            body = bytes([next_header, 0]) + bytes(6) + body
        next_header = kind
    return next_header, body


def options(rng: random.Random, next_header: int) -> bytes:
    """Draw an options header: padding, router alert, unknown options of each action, liars."""
    listed = b""
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 20))):
        listed += rng.choice(
            (b"\0", b"\x01\x02\0\0", b"\x05\x02\0\0", b"\x1e\x04abcd", b"\x3e\x00", b"\x01\x00")
        )
    if rng.random() < 0.08:
        listed += rng.choice((b"\x9e\x02ab", b"\xde\x02ab", b"\x5e\x00", b"\x1e\xff"))
    units = rng.choice((0, 1, 2, 30, 255)) if rng.random() < 0.06 else None
    return wire.options_header(next_header, listed, units)


def routing(rng: random.Random, next_header: int) -> bytes:
    kind = rng.choice((0, 0, 1, 2, 3, 4, 77))
    left = rng.choice((0, 0, 0, 1, 2, 255))
    count = rng.choice((0, 1, 1, 2, 2, 3, 17))
    body = rng.choice((bytes(4), b"\0\0\0\1")) + b"".join(
        wire.address(rng.choice(HOPS)) for _ in range(count)
    )
    units = rng.choice((0, 1, 3, 5, 255)) if rng.random() < 0.06 else None
    return wire.routing_header(next_header, kind, left, body, units)


def fragment(rng: random.Random, next_header: int, body: bytes, number: int) -> bytes:
    """Draw a fragment header and the part of `body` it has; offset 0 without more is atomic."""
    ident = rng.choice(FRAGMENT_IDS) if rng.random() < 0.5 else 0x5000_0000 + number
    offset = rng.choice((0, 0, 0, 1, 2, 5, 180, 8191))
    more = rng.random() < 0.5
    part = body[offset * 8 :] if offset < 6 else body[:16]
    if more:
        part = part[: len(part) // 8 * 8] if rng.random() < 0.9 else part
    reserved = rng.choice((0, 0, 0, 1, 255))
    low = rng.choice((0, 0, 0, 1, 3))
    return wire.fragment_header(next_header, offset, more, ident, reserved, low) + part
