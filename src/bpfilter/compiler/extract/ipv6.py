"""The IPv6 header, and the walk over extension headers to the upper layer.

The walk is ipv6_find_hdr(skb, &thoff, -1, &fragoff, NULL) (net/ipv6/exthdrs_core.c) as
ip6_packet_match calls it: whatever it cannot follow (a truncated header, a later
fragment that begins with an extension header) is a hotdrop for rules with `-p`. It leaves
the protocol in R8 and the offset of its header in R9.
"""

from __future__ import annotations

from bpfilter.abi.packet import EXTHDR, FRAGMENT, IPV6
from bpfilter.asm.insn import R0, R1, R2, R3, R5, R6, R8, R9, Size
from bpfilter.compiler import frame
from bpfilter.compiler.extract import exthdr
from bpfilter.compiler.extract.walk import loop
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP

#: In R8 after the walk when there is no upper layer: no protocol number.
NO_PROTOCOL = 0x100

WALKED = (
    EXTHDR.HOP,
    EXTHDR.ROUTING,
    EXTHDR.FRAGMENT,
    EXTHDR.AUTH,
    EXTHDR.DEST,
)


def extract(p: Prologue) -> None:
    b = p.b
    p.read(0, IPV6.BYTES, p.unreadable)
    b.mov(R5, R0)
    p.put_be_words(fields.SADDR, R5, IPV6.SADDR, 4, R1)
    p.put_be_words(fields.DADDR, R5, IPV6.DADDR, 4, R1)
    # Version (4 bits), traffic class (8), flow label (20), length (16), next header, hop limit.
    b.load(R8, R5, 0)
    b.be64(R8)
    p.put_together((fields.TTL, R8, 0), (fields.TOS, R8, 52))
    if p.wants(fields.LENGTH):
        # length_mt6 compares skb->len (Linux 6.3), before every kernel with netfilter links.
        p.load_member(R1, R6, "sk_buff", "len")
        p.put(fields.LENGTH, R1)
    b.rsh(R8, 8)
    b.and_(R8, 0xFF)
    b.mov(R9, IPV6.BYTES)
    if p.wants(fields.PROTO_GUARD) or exthdr.wanted(p):
        _walk(p)


def _walk(p: Prologue) -> None:
    # R8: type of the header at R9.
    b = p.b
    bad, lost, found, done = (b.fresh(name) for name in ("bad", "lost", "found", "walked"))
    exthdr.begin(p)
    b.mov(R1, 0)
    p.store_scratch(frame.SCRATCH_FRAGOFF, R1)
    _jump_unless_walked(p, found)
    _headers(p, bad, lost, found)
    b.label(bad)
    exthdr.note_bad(p)
    b.label(lost)
    p.put_constant(fields.PROTO_GUARD, GUARD_DROP)
    b.mov(R8, NO_PROTOCOL)
    b.jump(done)
    b.label(found)
    p.store_scratch(frame.SCRATCH_THOFF, R9)
    if p.wants(fields.PROTO):
        b.mov(R1, R8)
        p.put(fields.PROTO, R1)
    b.label(done)


def _headers(p: Prologue, bad: str, lost: str, found: str) -> None:
    b = p.b
    leave_bad, leave_lost, leave_found = (b.fresh("leave") for _ in range(3))
    p.open_packet()
    with loop(p, {leave_bad: bad, leave_lost: lost, leave_found: found}):
        _jump_unless_walked(p, leave_found)
        exthdr.note(p)
        _read_header(p, leave_bad, leave_lost, leave_found)
        exthdr.next_header(p)
        if p.target.quirks.exthdr_bounded:
            p.load_member(R3, R6, "sk_buff", "len")
            b.sub(R3, R9)
            b.jlt(R3, R2, leave_bad)
        b.add(R9, R2)
        b.mov(R8, R1)


def _read_header(p: Prologue, bad: str, lost: str, found: str) -> None:
    # R0 = the header at R9. The kernel reads 2 bytes, and 4 of a fragment or routing header;
    # where lengths are bounded, a header of less than 4 fails at its length at the latest.
    b = p.b
    if p.target.quirks.exthdr_bounded:
        p.slice(R9, 4)
        b.jeq(R0, 0, bad)
        _fragment(p, lost, found)
        return
    long_read, read = b.fresh("long"), b.fresh("read")
    b.jeq(R8, EXTHDR.ROUTING, long_read)
    b.jeq(R8, EXTHDR.FRAGMENT, long_read)
    p.slice(R9, 2)
    b.jeq(R0, 0, bad)
    b.jump(read)
    b.label(long_read)
    p.slice(R9, 4)
    b.jeq(R0, 0, bad)
    _fragment(p, lost, found)
    b.label(read)


def _fragment(p: Prologue, lost: str, found: str) -> None:
    # A later fragment: its offset counts, and its header's next type is the protocol. Matches
    # then read at offset 0, as ipv6_find_hdr leaves it.
    b = p.b
    first = b.fresh("first")
    b.jne(R8, EXTHDR.FRAGMENT, first)
    b.load(R1, R0, FRAGMENT.OFFSET, Size.H)
    b.be16(R1)
    b.and_(R1, FRAGMENT.OFFSET_MASK)
    b.jeq(R1, 0, first)
    p.store_scratch(frame.SCRATCH_FRAGOFF, R1)
    b.load(R8, R0, EXTHDR.NEXTHDR, Size.B)
    b.mov(R9, 0)
    _jump_unless_walked(p, found)
    b.jump(lost)
    b.label(first)


def _jump_unless_walked(p: Prologue, label: str) -> None:
    # NEXTHDR_NONE ends the walk like a protocol does.
    walked = p.b.fresh("extension")
    for number in WALKED:
        p.b.jeq(R8, number, walked)
    p.b.jump(label)
    p.b.label(walked)
