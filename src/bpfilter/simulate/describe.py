"""Packets as text, in the grammar of text.py as far as it goes."""

from __future__ import annotations

import ipaddress

from bpfilter.abi.packet import AH, DCCP, ESP, ICMP, IPPROTO, IPV4, IPV6, PORTS, TCP
from bpfilter.simulate.headers import PORT_PROTOCOLS, TCP_FLAGS
from bpfilter.simulate.packet import Packet
from bpfilter.simulate.upper import UpperLayer, upper_layer
from bpfilter.simulate.words import DCCP_TYPES, icmp_name

_PORTS = {number: name for name, number in PORT_PROTOCOLS.items()}
_NAMES = {
    IPPROTO.ICMP: "icmp",
    IPPROTO.ICMPV6: "icmpv6",
    IPPROTO.ESP: "esp",
    IPPROTO.AH: "ah",
    **_PORTS,
}


def describe(packet: Packet) -> str:
    """Give a packet's protocol, ends, and what tells it from others."""
    data = packet.data
    upper = upper_layer(data)
    header = data[upper.offset :] if upper.first else b""
    ports = upper.protocol in _PORTS and len(header) >= PORTS.BYTES
    ip, size = (IPV4, 4) if data[0] >> 4 == 4 else (IPV6, 16)
    ends = []
    for address_at, port_at in ((ip.SADDR, PORTS.SPORT), (ip.DADDR, PORTS.DPORT)):
        address = str(ipaddress.ip_address(data[address_at : address_at + size]))
        if ports:
            port = int.from_bytes(header[port_at : port_at + 2], "big")
            address = f"[{address}]:{port}" if size == 16 else f"{address}:{port}"
        ends.append(address)
    name = _NAMES.get(upper.protocol, f"proto {upper.protocol}")
    return " ".join([f"{name} {ends[0]} > {ends[1]}", *_details(header, upper)])


def _details(header: bytes, upper: UpperLayer) -> list[str]:
    words = []
    protocol = upper.protocol
    if protocol == IPPROTO.TCP and len(header) > TCP.FLAGS:
        flags = header[TCP.FLAGS]
        set_ = [name for bit, name in enumerate(TCP_FLAGS) if flags >> bit & 1]
        words += set_ or ["none"]
    elif protocol in (IPPROTO.ICMP, IPPROTO.ICMPV6) and len(header) > ICMP.CODE:
        kind, code = header[ICMP.TYPE], header[ICMP.CODE]
        words.append(icmp_name(kind, code, protocol == IPPROTO.ICMPV6))
    elif protocol == IPPROTO.DCCP and len(header) > DCCP.TYPE:
        kind = header[DCCP.TYPE] >> 1 & 0xF
        words += [DCCP_TYPES[kind].lower()] if kind < len(DCCP_TYPES) else []
    elif protocol in (IPPROTO.ESP, IPPROTO.AH):
        at = ESP.SPI if protocol == IPPROTO.ESP else AH.SPI
        if len(header) >= at + 4:
            words.append(f"spi={int.from_bytes(header[at : at + 4], 'big')}")
    if upper.is_fragment:
        words.append(f"frag={upper.fragment_offset}{'+' if upper.more_fragments else ''}")
    return words
