"""The transport header: guards, ports, TCP flags, ICMP type and code, IPsec SPIs.

On entry R8 is the protocol number and R9 where the header is; the scratch members hold the
latter as well, and the fragment offset. Each guard says what its match does with a packet
that is a later fragment, or too short for the header: fail, or hotdrop.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfilter.abi.packet import AH, DCCP, ESP, ICMP, IPPROTO, PORTS, SCTP, TCP, UDP
from bpfilter.asm.insn import R0, R1, R8, R9, Size
from bpfilter.compiler import frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP, GUARD_FAIL, Field
from bpfilter.rules.model import Family


@dataclass(frozen=True, slots=True)
class Header:
    """A transport header: `guard` asks for `size` bytes; `read` takes what R9 points to."""

    protocols: tuple[int, ...]
    guard: Field
    size: int
    has_ports: bool
    fields: tuple[Field, ...] = ()
    read: Callable[[Prologue], None] | None = None


def _tcp(p: Prologue) -> None:
    if p.wants(fields.TCP_FLAGS):
        p.b.load(R1, R9, TCP.FLAGS, Size.B)
        p.put(fields.TCP_FLAGS, R1)


def _icmp(p: Prologue) -> None:
    for asked, offset in ((fields.ICMP_TYPE, ICMP.TYPE), (fields.ICMP_CODE, ICMP.CODE)):
        if p.wants(asked):
            p.b.load(R1, R9, offset, Size.B)
            p.put(asked, R1)


def _dccp(p: Prologue) -> None:
    if p.wants(fields.DCCP_TYPE):
        p.b.load(R1, R9, DCCP.TYPE, Size.B)
        p.b.rsh(R1, 1)
        p.b.and_(R1, 0xF)
        p.put(fields.DCCP_TYPE, R1)


def _esp(p: Prologue) -> None:
    p.put_be_words(fields.ESP_SPI, R9, ESP.SPI, 1, R1)


def _ah(p: Prologue) -> None:
    p.put_be_words(fields.AH_SPI, R9, AH.SPI, 1, R1)


TCP_HEADER = Header((IPPROTO.TCP,), fields.TCP_GUARD, TCP.BYTES, True, (fields.TCP_FLAGS,), _tcp)
HEADERS = (
    TCP_HEADER,
    Header((IPPROTO.UDP, IPPROTO.UDPLITE), fields.UDP_GUARD, UDP.BYTES, True),
    Header((IPPROTO.SCTP,), fields.SCTP_GUARD, SCTP.BYTES, True),
    Header((IPPROTO.DCCP,), fields.DCCP_GUARD, DCCP.BYTES, True, (fields.DCCP_TYPE,), _dccp),
    Header((IPPROTO.ESP,), fields.ESP_GUARD, ESP.BYTES, False, (fields.ESP_SPI,), _esp),
)
ICMP_HEADERS = {
    Family.IPV4: IPPROTO.ICMP,
    Family.IPV6: IPPROTO.ICMPV6,
}
GUARDS = (
    fields.PORTS_GUARD,
    fields.TCP_GUARD,
    fields.UDP_GUARD,
    fields.ICMP_GUARD,
    fields.SCTP_GUARD,
    fields.DCCP_GUARD,
    fields.ESP_GUARD,
)


def headers(family: Family) -> tuple[Header, ...]:
    icmp = Header(
        (ICMP_HEADERS[family],),
        fields.ICMP_GUARD,
        ICMP.BYTES,
        False,
        (fields.ICMP_TYPE, fields.ICMP_CODE),
        _icmp,
    )
    # The IPv6 match for AH finds its header by a walk of its own (extract/exthdr.py).
    ah = Header((IPPROTO.AH,), fields.AH_GUARD, AH.BYTES, False, (fields.AH_SPI,), _ah)
    return (*HEADERS, icmp) if family is Family.IPV6 else (*HEADERS, icmp, ah)


def extract(p: Prologue) -> None:
    if p.wants(fields.ECN_TCP):
        _ecn(p)
    asked = [header for header in headers(p.family) if _wanted(p, header)]
    if not asked:
        return
    b = p.b
    whole, done = b.fresh("whole"), b.fresh("transport")
    p.load_scratch(R1, frame.SCRATCH_FRAGOFF)
    b.jeq(R1, 0, whole)
    _fragment(p)
    b.jump(done)
    b.label(whole)
    for header in asked:
        other = b.fresh("other")
        _jump_unless(p, header.protocols, other)
        _header(p, header, done)
        b.label(other)
    b.label(done)


def _ecn(p: Prologue) -> None:
    # match_tcp of xt_ecn.c minds no fragment: it takes what it finds there for a header.
    b = p.b
    none = b.fresh("no_ecn")
    b.jne(R8, IPPROTO.TCP, none)
    p.read(R9, TCP.BYTES, none)
    if p.wants(fields.TCP_FLAGS):
        b.load(R1, R0, TCP.FLAGS, Size.B)
        p.put(fields.TCP_FLAGS, R1)
    p.put_constant(fields.ECN_TCP, 1)
    b.label(none)


def _wanted(p: Prologue, header: Header) -> bool:
    ports = header.has_ports and p.wants(fields.PORTS_GUARD)
    return ports or p.wants(header.guard)


def _jump_unless(p: Prologue, protocols: tuple[int, ...], label: str) -> None:
    here = p.b.fresh("protocol")
    for number in protocols[:-1]:
        p.b.jeq(R8, number, here)
    p.b.jne(R8, protocols[-1], label)
    p.b.label(here)


def _fragment(p: Prologue) -> None:
    # R1: fragment offset, not 0. tcp_mt drops offset 1, which would overwrite TCP flags. Of the
    # guards of a protocol only the packet's own ever drops: compiler/views.py builds on that.
    b = p.b
    if p.wants(fields.TCP_GUARD):
        later, tcp = b.fresh("later"), b.fresh("tcp_fragment")
        b.jne(R1, 1, later)
        b.jne(R8, IPPROTO.TCP, later)
        p.put_constant(fields.TCP_GUARD, GUARD_DROP)
        b.jump(tcp)
        b.label(later)
        p.put_constant(fields.TCP_GUARD, GUARD_FAIL)
        b.label(tcp)
    for guard in (*GUARDS, *((fields.AH_GUARD,) if p.family is Family.IPV4 else ())):
        if guard is not fields.TCP_GUARD:
            p.put_constant(guard, GUARD_FAIL)


def _header(p: Prologue, header: Header, done: str) -> None:
    b = p.b
    if p.wants(header.guard):
        short = b.fresh("short")
        p.read(R9, header.size, short)
        b.mov(R9, R0)
        if header.has_ports:
            _ports(p)
        if header.read:
            header.read(p)
        b.jump(done)
        b.label(short)
        p.put_constant(header.guard, GUARD_DROP)
    if header.has_ports and p.wants(fields.PORTS_GUARD):
        none = b.fresh("no_ports")
        p.read(R9, PORTS.BYTES, none)
        b.mov(R9, R0)
        _ports(p)
        b.jump(done)
        b.label(none)
        p.put_constant(fields.PORTS_GUARD, GUARD_DROP)
    b.jump(done)


def _ports(p: Prologue) -> None:
    # Both ports share a word laid out as they are in the packet.
    for asked in (fields.SPORT, fields.DPORT):
        if p.wants(asked):
            p.b.load(R1, R9, PORTS.SPORT, Size.W)
            p.b.be32(R1)
            p.store_word(p.frame.places[asked.name, 0].slot, R1)
            return
