"""What the kernel's matches read from a packet, in plain Python: the measure for extractors.

Each function does one match's reading on its own, step by step as net/netfilter/xt_*.c,
net/ipv6/netfilter/ip6t_*.c and ipv6_find_hdr() do, and gives the fields of plan/fields.py
it decides; a field not given is not asked (its guard says no). Packets start at the
network header, and are as long as skb->len.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.harness import wire

Fields = dict[str, int]

EXTENSIONS = (wire.HOPOPTS, wire.ROUTING, wire.FRAGMENT, wire.AH, wire.NONE, wire.DSTOPTS)


class Missing(Exception):
    """-ENOENT of ipv6_find_hdr: there is no such header."""


class Malformed(Exception):
    """-EBADMSG of ipv6_find_hdr, NULL of skb_header_pointer: a hotdrop."""


def pointer(packet: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(packet):
        raise Malformed
    return packet[offset : offset + size]


@dataclass(frozen=True, slots=True)
class Transport:
    """par->thoff and par->fragoff, and the protocol that `-p` compares; None: hotdrop."""

    protocol: int | None
    thoff: int = 0
    fragoff: int = 0


def transport4(packet: bytes) -> Transport:
    fragoff = int.from_bytes(packet[6:8], "big") & 0x1FFF
    return Transport(packet[9], (packet[0] & 15) * 4, fragoff)


def transport6(packet: bytes) -> Transport:
    try:
        protocol, thoff, fragoff = find_header(packet, -1)
    except (Missing, Malformed):
        return Transport(None)
    return Transport(protocol, thoff, fragoff)


def find_header(packet: bytes, target: int) -> tuple[int, int, int]:
    """ipv6_find_hdr(): type and offset of the header found, and the fragment offset."""
    start, kind = 40, packet[6]
    while True:
        found = kind == target
        if kind not in EXTENSIONS or kind == wire.NONE:
            if target < 0 or found:
                return kind, start, 0
            raise Missing
        header = pointer(packet, start, 2)
        if kind == wire.ROUTING:
            pointer(packet, start, 4)
        if kind == wire.FRAGMENT:
            offset = int.from_bytes(pointer(packet, start + 2, 2), "big") & ~7
            if offset:
                inner = header[0]
                if target < 0 and (inner not in EXTENSIONS or inner == wire.NONE):
                    return inner, 0, offset
                if not found:
                    raise Missing
                return kind, start, offset
        if found:
            return kind, start, 0
        length = header_bytes(kind, header)
        if len(packet) - start < length:
            raise Malformed
        kind = header[0]
        start += length


def header_bytes(kind: int, header: bytes) -> int:
    if kind == wire.FRAGMENT:
        return 8
    return (header[1] + 2) * 4 if kind == wire.AH else (header[1] + 1) * 8


def guarded(name: str, packet: bytes, target: int, size: int) -> tuple[Fields, int, bytes]:
    """Find a header and read `size` bytes: its guard, offset and bytes (none unless it is 0)."""
    try:
        _, offset, _ = find_header(packet, target)
        return {name: 0}, offset, pointer(packet, offset, size)
    except Missing:
        return {name: 1}, 0, b""
    except Malformed:
        return {name: 2}, 0, b""


def _cut_short(packet: bytes, offset: int, length: int) -> bool:
    return len(packet) - offset < length


def ah6(packet: bytes) -> Fields:
    fields, offset, header = guarded("ah_guard", packet, wire.AH, 12)
    if not header:
        return fields
    length = header_bytes(wire.AH, header)
    if _cut_short(packet, offset, length):
        return {"ah_guard": 2}
    reserved, spi = int.from_bytes(header[2:4], "big"), int.from_bytes(header[4:8], "big")
    return {**fields, "ah_length": length, "ah_reserved": reserved, "ah_spi": spi}


def frag(packet: bytes) -> Fields:
    fields, _, header = guarded("frag_guard", packet, wire.FRAGMENT, 8)
    if not header:
        return fields
    offset = int.from_bytes(header[2:4], "big")
    return {
        **fields,
        "frag_id": int.from_bytes(header[4:8], "big"),
        "frag_reserved": int(header[1] != 0 or offset & 6 != 0),
        "frag_first": int(offset & ~7 == 0),
        "frag_more": offset & 1,
    }


def rt(packet: bytes) -> Fields:
    fields, offset, header = guarded("rt_guard", packet, wire.ROUTING, 4)
    if not header:
        return fields
    length = header_bytes(wire.ROUTING, header)
    if _cut_short(packet, offset, length):
        return {"rt_guard": 2}
    return {
        **fields,
        "rt_length": length,
        "rt_type": header[2],
        "rt_segsleft": header[3],
        "rt_reserved": int(any(packet[offset + 4 : offset + 8])),
        "rt_addrs": _addresses(packet[offset + 8 :]),
    }


def _addresses(listed: bytes) -> int:
    whole = listed[: min(len(listed) // 16, 16) * 16]
    return int.from_bytes(whole.ljust(256, b"\0"), "big")


def options6(packet: bytes, name: str, kind: int) -> Fields:
    fields, offset, header = guarded(f"{name}_guard", packet, kind, 2)
    if not header:
        return fields
    length = header_bytes(kind, header)
    if _cut_short(packet, offset, length):
        return {f"{name}_guard": 2}
    listed = [kind << 8 | length for kind, length in _options6(packet, offset + 2, length - 2)]
    number = sum(option << 16 * (15 - at) for at, option in enumerate(listed))
    return {
        **fields,
        f"{name}_length": length,
        f"{name}_opts": len(listed) << 256 | number,
    }


def _options6(packet: bytes, ptr: int, hdrlen: int) -> list[tuple[int, int]]:
    """The options hbh_mt6() would find as asked, one of 16 more each time; Pad1 has length 0."""
    found: list[tuple[int, int]] = []
    while len(found) < 16 and hdrlen >= 1 and ptr < len(packet):
        kind, length, optlen = packet[ptr], 0, 1
        if kind:
            if hdrlen < 2 or ptr + 1 >= len(packet):
                break
            length = packet[ptr + 1]
            optlen = length + 2
        found.append((kind, length))
        if (ptr > (len(packet) - optlen) % (1 << 32)) or hdrlen < optlen:
            break
        ptr += optlen
        hdrlen -= optlen
    return found


def ipv6header(packet: bytes) -> Fields:
    """ipv6header_mt6(): the headers seen, or that the walk failed."""
    masks = {
        wire.HOPOPTS: 128,
        wire.DSTOPTS: 64,
        wire.ROUTING: 32,
        wire.FRAGMENT: 16,
        wire.AH: 8,
    }
    seen, kind, offset = 0, packet[6], 40
    while kind in EXTENSIONS or kind == wire.ESP:
        if kind == wire.NONE:
            seen |= 2
            break
        if len(packet) - offset < 2:
            return {"ipv6_headers_ok": 0}
        if kind == wire.ESP:
            seen |= 4
            break
        header = packet[offset : offset + 2]
        seen |= masks[kind]
        offset += header_bytes(kind, header)
        kind = header[0]
        if offset > len(packet):
            break
    if kind not in (wire.NONE, wire.ESP):
        seen |= 1
    return {"ipv6_headers_ok": 1, "ipv6_headers": seen}


def extension_headers(packet: bytes) -> Fields:
    """All of what the matches for IPv6 extension headers read."""
    upper = transport6(packet)
    walk: Fields = {"proto_guard": 2}
    if upper.protocol is not None:
        walk = {"proto_guard": 0, "proto": upper.protocol}
    return {
        **walk,
        **ah6(packet),
        **frag(packet),
        **rt(packet),
        **options6(packet, "hbh", wire.HOPOPTS),
        **options6(packet, "dst", wire.DSTOPTS),
        **ipv6header(packet),
    }


# Kinds, types and flags seen are given as bitmaps: bit 0 is the uppermost of 256.


def kinds(numbers: set[int]) -> int:
    return sum(1 << 255 - number for number in numbers)


def tcp_options(packet: bytes, at: Transport) -> Fields:
    """tcp_find_option() for every kind at once, after tcp_mt() has read the header."""
    header = _first_header(packet, at, wire.TCP, 20)
    if header is None:
        return {}
    length = (header[12] >> 4) * 4
    if length < 20:
        return {"tcpopt_guard": 2}
    try:
        options = pointer(packet, at.thoff + 20, length - 20)
    except Malformed:
        return {"tcpopt_guard": 2}
    return {"tcpopt_guard": 0, "tcp_options": kinds(_options(options))}


def dccp_options(packet: bytes, at: Transport) -> Fields:
    """dccp_find_option() for every kind at once, after dccp_mt() has read the header."""
    header = _first_header(packet, at, wire.DCCP, 12)
    if header is None:
        return {}
    kind = header[8] >> 1 & 15
    fixed = {0: 4, 2: 0, 3: 8, 4: 8, 5: 8, 6: 8, 8: 8, 9: 8}.get(kind, 12)
    fixed += 12 + (4 if header[8] & 1 else 0)
    length = header[4] * 4
    if length < fixed:
        return {"dccpopt_guard": 2}
    if length == fixed:
        return {"dccpopt_guard": 0, "dccp_options": 0}
    try:
        options = pointer(packet, at.thoff + fixed, length - fixed)
    except Malformed:
        return {"dccpopt_guard": 2}
    return {"dccpopt_guard": 0, "dccp_options": kinds(_options(options))}


def _options(options: bytes) -> set[int]:
    found, i = set(), 0
    while i < len(options):
        found.add(options[i])
        if options[i] < 2 or i == len(options) - 1:
            i += 1
        else:
            i += options[i + 1] or 1
    return found


def sctp_chunks(packet: bytes, at: Transport) -> Fields:
    """What match_packet() of xt_sctp.c meets until the end, or the chunk that is a hotdrop."""
    if _first_header(packet, at, wire.SCTP, 12) is None:
        return {}
    flags = {0: 0, 6: 0, 14: 0}
    types: set[int] = set()
    offset, guard = at.thoff + 12, 0
    while True:
        chunk = packet[offset : offset + 4]
        length = int.from_bytes(chunk[2:], "big")
        if len(chunk) < 4 or length == 0:
            guard = 2
            break
        offset += (length + 3) // 4 * 4
        types.add(chunk[0])
        if chunk[0] in flags:
            flags[chunk[0]] |= 1 << (chunk[1] & (15 if chunk[0] == 0 else 1))
        if offset >= len(packet):
            break
    return {
        "sctpchunk_guard": guard,
        "sctp_chunks": kinds(types),
        "sctp_data_flags": flags[0],
        "sctp_abort_flags": flags[6],
        "sctp_shutdown_flags": flags[14],
    }


def ecn_tcp(packet: bytes, at: Transport) -> Fields:
    """match_tcp() of xt_ecn.c: whatever lies at thoff, in fragments too."""
    if at.protocol != wire.TCP:
        return {}
    try:
        header = pointer(packet, at.thoff, 20)
    except Malformed:
        return {"ecn_tcp": 0}
    return {"ecn_tcp": 1, "tcp_flags": header[13]}


def _first_header(packet: bytes, at: Transport, protocol: int, size: int) -> bytes | None:
    # What a match for a transport header has before it looks further.
    if at.protocol != protocol or at.fragoff:
        return None
    try:
        return pointer(packet, at.thoff, size)
    except Malformed:
        return None


_GUARDS = {
    "tcp_guard": ((wire.TCP,), 20),
    "udp_guard": ((wire.UDP, wire.UDPLITE), 8),
    "sctp_guard": ((wire.SCTP,), 12),
    "dccp_guard": ((wire.DCCP,), 12),
    "esp_guard": ((wire.ESP,), 8),
}
_PORTS = (wire.TCP, wire.UDP, wire.UDPLITE, wire.SCTP, wire.DCCP)


def transport_header(packet: bytes, at: Transport) -> Fields:
    """Guards and fields of the matches for transport headers that ask for its protocol."""
    if at.protocol is None:
        return {}
    guards: dict[str, tuple[tuple[int, ...], int]] = dict(_GUARDS)
    guards["ports_guard"] = (_PORTS, 4)
    if packet[0] >> 4 == 4:
        guards["icmp_guard"] = ((wire.ICMP,), 8)
        guards["ah_guard"] = ((wire.AH,), 12)
    else:
        guards["icmp_guard"] = ((wire.ICMPV6,), 8)
    header = packet[at.thoff :]
    fields: Fields = {}
    for guard, (protocols, size) in guards.items():
        if at.protocol not in protocols:
            continue
        if at.fragoff:
            fields[guard] = 2 if guard == "tcp_guard" and at.fragoff == 1 else 1
        elif len(header) < size:
            fields[guard] = 2
        else:
            fields[guard] = 0
            fields |= _header_fields(guard, header)
    return fields


def _header_fields(guard: str, header: bytes) -> Fields:
    first, second = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:4], "big")
    match guard:
        case "icmp_guard":
            return {"icmp_type": header[0], "icmp_code": header[1]}
        case "esp_guard":
            return {"esp_spi": first << 16 | second}
        case "ah_guard":
            return {"ah_spi": int.from_bytes(header[4:8], "big")}
    fields = {"sport": first, "dport": second}
    if guard == "tcp_guard":
        fields["tcp_flags"] = header[13]
    if guard == "dccp_guard":
        fields["dccp_type"] = header[8] >> 1 & 15
    return fields
