"""Captured frames → packets as a hook would see them: link layers peeled off as the stack does.

What never reaches the rules (other protocols, headers that ip_rcv and ip6_rcv_core drop)
is Skipped, with the reason. Checksums are not verified: a capture has them as they were
before network cards filled them in.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfilter.abi.packet import EXTHDR, IPV4, IPV6
from bpfilter.dataclass import dataclass
from bpfilter.errors import CaptureError
from bpfilter.rules.model import Family
from bpfilter.simulate.packet import ETHERNET_BYTES, Packet, PacketType
from bpfilter.simulate.pcap import Frame

ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
VLAN_TAGS = (0x8100, 0x88A8)  # 802.1Q, 802.1ad
ARPHRD_ETHER = 1
_FAMILY_OF_TYPE = {ETH_P_IP: Family.IPV4, ETH_P_IPV6: Family.IPV6}
#: AF_INET6 of Linux; NetBSD and OpenBSD; FreeBSD; macOS. AF_INET is 2 everywhere.
_AF_INET6 = (10, 24, 28, 30)

# sll_pkttype (packet(7)) of what comes in; those sent by this machine (4) were addressed so too.
_SLL_KINDS = {0: PacketType.UNICAST, 1: PacketType.BROADCAST, 2: PacketType.MULTICAST}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame that no rule gets to see."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Peeled:
    """A frame without its link layer; `family` None: the packet's version field tells."""

    at: int
    family: Family | None
    link: bytes = b""
    kind: PacketType | None = None


def unwrap(frame: Frame) -> Packet | Skipped:
    """Give the packet in a frame. Raises: CaptureError if its link type is not known."""
    peel = _LINK_TYPES.get(frame.link_type)
    if peel is None:
        raise CaptureError(f"captures of link type {frame.link_type} cannot be read")
    peeled = peel(frame)
    if isinstance(peeled, Skipped):
        return peeled
    data, length = frame.data[peeled.at :], frame.length - peeled.at
    family = {4: Family.IPV4, 6: Family.IPV6}.get(data[0] >> 4 if data else 0)
    if family is None or peeled.family not in (None, family):
        return Skipped("no IP packet")
    total = _total_length(data, length, family)
    if isinstance(total, Skipped):
        return total
    data = data[:total]
    return Packet(data, peeled.link, 0 if len(data) == total else total, kind=peeled.kind)


def _total_length(data: bytes, length: int, family: Family) -> int | Skipped:
    # Bytes of the packet without what the link padded it with, or why the stack drops it.
    header = IPV4 if family is Family.IPV4 else IPV6
    if len(data) < header.BYTES:
        return Skipped("captured without a whole IP header")
    if family is Family.IPV4:
        words = data[IPV4.IHL] & IPV4.IHL_MASK
        total = int.from_bytes(data[IPV4.TOT_LEN : IPV4.TOT_LEN + 2], "big")
        if total == 0:  # segmented by the network card only later
            total = length
        if words < 5 or total < words * 4:
            return Skipped("malformed IP header, dropped before any rule")
    else:
        payload = int.from_bytes(data[IPV6.PAYLOAD_LEN : IPV6.PAYLOAD_LEN + 2], "big")
        total = IPV6.BYTES + payload
        if payload == 0 and data[IPV6.NEXTHDR] != EXTHDR.NONE:
            total = length  # a jumbo payload, or not yet segmented
    if total > length:
        return Skipped("shorter than its header says, dropped before any rule")
    return total


def _ethernet(frame: Frame) -> _Peeled | Skipped:
    data = frame.data
    if len(data) < ETHERNET_BYTES:
        return Skipped("Ethernet header cut short")
    found = _below_tags(data, 12)
    if isinstance(found, Skipped):
        return found
    # A tag is taken out of the header, as the stack does before the hooks.
    at, family = found
    destination = data[:6]
    kind = PacketType.UNICAST
    if destination == b"\xff" * 6:
        kind = PacketType.BROADCAST
    elif destination[0] & 1:
        kind = PacketType.MULTICAST
    return _Peeled(at, family, data[:12] + data[at - 2 : at], kind)


def _below_tags(data: bytes, at: int) -> tuple[int, Family] | Skipped:
    # Follow the EtherType at `at` through VLAN tags to that of a packet.
    found = int.from_bytes(data[at : at + 2], "big")
    while found in VLAN_TAGS:
        at += 4
        found = int.from_bytes(data[at : at + 2], "big")
    family = _FAMILY_OF_TYPE.get(found)
    return Skipped("no IP packet") if family is None else (at + 2, family)


def _cooked(frame: Frame) -> _Peeled | Skipped:
    """Linux cooked capture: pkttype, ARPHRD, address length (u16 each), address, EtherType."""
    if len(frame.data) < 16:
        return Skipped("cooked header cut short")
    kind, hardware, address_bytes = (
        int.from_bytes(frame.data[at : at + 2], "big") for at in (0, 2, 4)
    )
    found = _below_tags(frame.data, 14)
    return _from_cooked(found, kind, hardware, frame.data[6 : 6 + address_bytes])


def _cooked2(frame: Frame) -> _Peeled | Skipped:
    """Version 2: EtherType (u16), 6 bytes, ARPHRD (u16), pkttype and length (u8), address."""
    data = frame.data
    if len(data) < 20:
        return Skipped("cooked header cut short")
    hardware, kind, address_bytes = int.from_bytes(data[8:10], "big"), data[10], data[11]
    # Tags, and the type behind them, follow the header.
    found = _below_tags(data[:2] + data[20:], 0)
    if not isinstance(found, Skipped):
        found = found[0] + 18, found[1]
    return _from_cooked(found, kind, hardware, data[12 : 12 + address_bytes])


def _from_cooked(
    found: tuple[int, Family] | Skipped, kind: int, hardware: int, address: bytes
) -> _Peeled | Skipped:
    if isinstance(found, Skipped):
        return found
    at, family = found
    link = b""
    if hardware == ARPHRD_ETHER and len(address) == 6 and kind in _SLL_KINDS:
        # The destination is not kept; no rule asks for it.
        ether_type = ETH_P_IP if family is Family.IPV4 else ETH_P_IPV6
        link = bytes(6) + address + ether_type.to_bytes(2, "big")
    return _Peeled(at, family, link, _SLL_KINDS.get(kind))


def _null(frame: Frame) -> _Peeled | Skipped:
    return _loopback(int.from_bytes(frame.data[:4], "little" if frame.little_endian else "big"))


def _loop(frame: Frame) -> _Peeled | Skipped:
    return _loopback(int.from_bytes(frame.data[:4], "big"))


def _loopback(family: int) -> _Peeled | Skipped:
    if family == 2:
        return _Peeled(4, Family.IPV4)
    return _Peeled(4, Family.IPV6) if family in _AF_INET6 else Skipped("no IP packet")


def _raw(_frame: Frame) -> _Peeled:
    return _Peeled(0, None)


#: By LINKTYPE_* (tcpdump's list of link-layer header types); 12 and 14 are raw IP on some BSDs.
_LINK_TYPES: dict[int, Callable[[Frame], _Peeled | Skipped]] = {
    0: _null,
    1: _ethernet,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loop,
    113: _cooked,
    228: _raw,
    229: _raw,
    276: _cooked2,
}
