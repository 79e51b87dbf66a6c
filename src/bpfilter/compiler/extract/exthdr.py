"""IPv6 extension headers: what the matches ah, frag, rt, hbh, dst and ipv6header ask.

Each of the first five looks for the first header of its type with ipv6_find_hdr
(net/ipv6/exthdrs_core.c). All these searches follow the same path, so `note`, called for
every header of the one walk in ipv6.py, serves them all. A guard is 1 until its header is
found, which is also what a search that ends without it gives (-ENOENT); `note_bad` turns
that into a hotdrop where the walk cannot go on (-EBADMSG).
"""

from __future__ import annotations

from collections.abc import Callable

from bpfilter.abi.packet import AH, EXTHDR, FRAGMENT, IPPROTO, IPV6, ROUTING
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R6, R8, R9, Reg, Size
from bpfilter.compiler.extract import options
from bpfilter.compiler.extract.walk import jump_if_beyond, loop
from bpfilter.compiler.prologue import Prologue
from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP, GUARD_FAIL, Field


@dataclass(frozen=True, slots=True)
class Wanted:
    """A header to find; `read` is given its first `size` bytes at R5 and its length in R2."""

    kind: int
    guard: Field
    size: int
    read: Callable[[Prologue], None]


def _ah(p: Prologue) -> None:
    p.put(fields.AH_LENGTH, R2)
    p.put_be_words(fields.AH_SPI, R5, AH.SPI, 1, R1)
    p.b.load(R1, R5, AH.RESERVED, Size.H)
    p.b.be16(R1)
    p.put(fields.AH_RESERVED, R1)


def _frag(p: Prologue) -> None:
    b = p.b
    p.put_be_words(fields.FRAG_ID, R5, FRAGMENT.ID, 1, R1)
    b.load(R2, R5, FRAGMENT.OFFSET, Size.H)
    b.be16(R2)
    b.mov(R1, R2)
    b.and_(R1, FRAGMENT.MORE)
    p.put(fields.FRAG_MORE, R1)
    b.load(R1, R5, FRAGMENT.RESERVED, Size.B)
    b.mov(R3, R2)
    b.and_(R3, FRAGMENT.OFFSET_RESERVED)
    b.or_(R1, R3)
    _put_unless_zero(p, fields.FRAG_RESERVED, R1)
    later = b.fresh("later")
    b.and_(R2, FRAGMENT.OFFSET_MASK)
    b.jne(R2, 0, later)
    p.put_constant(fields.FRAG_FIRST, 1)
    b.label(later)


def _rt(p: Prologue) -> None:
    p.put(fields.RT_LENGTH, R2)
    for asked, offset in ((fields.RT_TYPE, ROUTING.TYPE), (fields.RT_SEGSLEFT, ROUTING.SEGSLEFT)):
        if p.wants(asked):
            p.b.load(R1, R5, offset, Size.B)
            p.put(asked, R1)
    p.b.load(R1, R5, ROUTING.RESERVED, Size.W)
    _put_unless_zero(p, fields.RT_RESERVED, R1)
    _addresses(p)


def _addresses(p: Prologue) -> None:
    b = p.b
    end = b.fresh("addresses")
    for first in range(0, fields.RT_ADDRS.words, 4):
        if p.wants_word(fields.RT_ADDRS, first):
            b.mov(R2, R9)
            b.add(R2, ROUTING.ADDRESSES + 4 * first)
            p.slice(R2, ROUTING.ADDRESS_BYTES)
            b.jeq(R0, 0, end)
            b.mov(R5, R0)
            p.put_be_words(fields.RT_ADDRS, R5, 0, 4, R1, first)
    b.label(end)


def _hbh(p: Prologue) -> None:
    p.put(fields.HBH_LENGTH, R2)
    options.note(p, fields.HBH_OPTS)


def _dst(p: Prologue) -> None:
    p.put(fields.DST_LENGTH, R2)
    options.note(p, fields.DST_OPTS)


# The kernel reads 4 bytes of a routing header and 2 of an options header; all 8 that their
# length covers at least are there, or the packet is dropped all the same.
HEADERS = (
    Wanted(EXTHDR.HOP, fields.HBH_GUARD, 8, _hbh),
    Wanted(EXTHDR.ROUTING, fields.RT_GUARD, 8, _rt),
    Wanted(EXTHDR.FRAGMENT, fields.FRAG_GUARD, FRAGMENT.BYTES, _frag),
    Wanted(EXTHDR.AUTH, fields.AH_GUARD, AH.BYTES, _ah),
    Wanted(EXTHDR.DEST, fields.DST_GUARD, 8, _dst),
)

# MASK_* of include/uapi/linux/netfilter_ipv6/ip6t_ipv6header.h
MASKS = {
    EXTHDR.HOP: 128,
    EXTHDR.DEST: 64,
    EXTHDR.ROUTING: 32,
    EXTHDR.FRAGMENT: 16,
    EXTHDR.AUTH: 8,
}
MASK_ESP = 4
MASK_NONE = 2
MASK_PROTO = 1


def wanted(p: Prologue) -> tuple[Wanted, ...]:
    """Give the headers that rules look for."""
    return tuple(header for header in HEADERS if p.wants(header.guard))


def begin(p: Prologue) -> None:
    """Set the guards to "not found"."""
    for header in wanted(p):
        p.put_constant(header.guard, GUARD_FAIL)


def note(p: Prologue) -> None:
    """Read the header of type R8 at R9 if it is wanted and the first one; clobbers R0-R5."""
    b = p.b
    for header in wanted(p):
        guard = p.frame.places[header.guard.name, 0]
        other, short = b.fresh("other"), b.fresh("short")
        b.jne(R8, header.kind, other)
        p.load_word(guard.slot, R1)
        b.and32(R1, GUARD_FAIL << guard.shift)
        b.jeq(R1, 0, other)
        p.slice(R9, header.size)
        b.mov32(R4, (GUARD_FAIL ^ GUARD_DROP) << guard.shift)
        b.jeq(R0, 0, short)
        b.mov(R5, R0)
        b.load(R2, R5, EXTHDR.LENGTH, Size.B)
        _scale(p, header.kind)
        p.load_member(R1, R6, "sk_buff", "len")
        b.sub(R1, R9)
        b.jlt(R1, R2, short)
        header.read(p)
        b.mov32(R4, GUARD_FAIL << guard.shift)
        b.label(short)
        p.load_word(guard.slot, R1)
        b.xor(R1, R4)
        p.store_word(guard.slot, R1)
        b.label(other)


def note_bad(p: Prologue) -> None:
    """Turn the guards of headers not found from 1 into 2; clobbers R0-R2."""
    b = p.b
    guards = [p.frame.places[header.guard.name, 0] for header in wanted(p)]
    if not guards:
        return
    (slot,) = {guard.slot for guard in guards}
    p.load_word(slot, R1)
    b.mov(R2, R1)
    b.and32(R2, sum(GUARD_FAIL << guard.shift for guard in guards))
    b.xor(R1, R2)
    b.lsh(R2, 1)
    b.or_(R1, R2)
    p.store_word(slot, R1)


def next_header(p: Prologue) -> None:
    """Leave in R1 the type and in R2 the distance of the header after the one at R0 of type R8."""
    b = p.b
    other, known = b.fresh("other"), b.fresh("length")
    b.load(R1, R0, EXTHDR.NEXTHDR, Size.B)
    b.load(R2, R0, EXTHDR.LENGTH, Size.B)
    for kind in (EXTHDR.FRAGMENT, EXTHDR.AUTH):
        b.jne(R8, kind, other)
        _scale(p, kind)
        b.jump(known)
        b.label(other)
        other = b.fresh("other")
    _scale(p, EXTHDR.HOP)
    b.label(known)


def extract(p: Prologue) -> None:
    """Do ipv6header_mt6's walk (ip6t_ipv6header.c): unlike ipv6_find_hdr it goes on after a
    later fragment's header, and ends where a header reaches beyond the packet."""
    if not p.wants(fields.IPV6_HEADERS, fields.IPV6_HEADERS_OK):
        return
    b = p.b
    failed, ended = b.fresh("failed"), b.fresh("ended")
    leave_failed, leave = b.fresh("leave"), b.fresh("leave")
    p.read(0, IPV6.BYTES, p.unreadable)
    b.load(R8, R0, IPV6.NEXTHDR, Size.B)
    b.mov(R9, IPV6.BYTES)
    p.open_packet()
    with loop(p, {leave_failed: failed, leave: ended}):
        extension = b.fresh("extension")
        _mask(p, EXTHDR.NONE, MASK_NONE, leave)
        for kind in (*MASKS, IPPROTO.ESP):
            b.jeq(R8, kind, extension)
        b.jump(leave)
        b.label(extension)
        p.slice(R9, 2)
        b.jeq(R0, 0, leave_failed)
        next_header(p)
        _mask(p, IPPROTO.ESP, MASK_ESP, leave)
        for kind, mask in MASKS.items():
            _mask(p, kind, mask)
        b.mov(R8, R1)
        b.add(R9, R2)
        jump_if_beyond(p, R9, leave)
    b.label(ended)
    upper = b.fresh("upper")
    b.jeq(R8, EXTHDR.NONE, upper)
    b.jeq(R8, IPPROTO.ESP, upper)
    p.put_constant(fields.IPV6_HEADERS, MASK_PROTO)
    b.label(upper)
    p.put_constant(fields.IPV6_HEADERS_OK, 1)
    b.label(failed)


def _mask(p: Prologue, kind: int, mask: int, then: str = "") -> None:
    other = p.b.fresh("other")
    p.b.jne(R8, kind, other)
    p.put_constant(fields.IPV6_HEADERS, mask)
    if then:
        p.b.jump(then)
    p.b.label(other)


def _scale(p: Prologue, kind: int) -> None:
    # R2 = bytes of the header, of its length field: ipv6_authlen, ipv6_optlen.
    if kind == EXTHDR.FRAGMENT:
        p.b.mov(R2, FRAGMENT.BYTES)
        return
    units, shift = (2, 2) if kind == EXTHDR.AUTH else (1, 3)
    p.b.add(R2, units)
    p.b.lsh(R2, shift)


def _put_unless_zero(p: Prologue, asked: Field, value: Reg) -> None:
    # One bit; clobbers R0.
    zero = p.b.fresh("zero")
    p.b.jeq(value, 0, zero)
    p.put_constant(asked, 1)
    p.b.label(zero)
