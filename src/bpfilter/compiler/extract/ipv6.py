"""The IPv6 header, and the walk over extension headers to the upper layer.

The walk is ipv6_find_hdr(skb, &thoff, -1, &fragoff, NULL) (net/ipv6/exthdrs_core.c) as
ip6_packet_match calls it: whatever it cannot follow (a truncated header, a later
fragment that begins with an extension header) is a hotdrop for rules with `-p`.
"""

from __future__ import annotations

from bpfilter.abi.packet import EXTHDR, IPV6
from bpfilter.asm.insn import R0, R1, R2, R3, R6, R8, R9, R10, Size
from bpfilter.compiler import frame
from bpfilter.compiler.prologue import GUARD_DROP, Prologue
from bpfilter.plan import fields

#: A header takes at least 8 bytes of a packet of at most 64 KiB.
MAX_HEADERS = 8192 + 1
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
    p.slice(0, IPV6.BYTES)
    b.jeq(R0, 0, p.unreadable)
    b.mov(R8, R0)
    p.put_be_words(fields.SADDR, R8, IPV6.SADDR, 4, R1)
    p.put_be_words(fields.DADDR, R8, IPV6.DADDR, 4, R1)
    if p.wants(fields.TTL):
        b.load(R1, R8, IPV6.HOP_LIMIT, Size.B)
        p.put(fields.TTL, R1)
    if p.wants(fields.TOS):
        b.load(R1, R8, 0, Size.H)
        b.be16(R1)
        b.rsh(R1, 4)
        b.and_(R1, 0xFF)
        p.put(fields.TOS, R1)
    if p.wants(fields.LENGTH):
        # length_mt6 compares skb->len (Linux 6.3), before every kernel with netfilter links.
        p.load_member(R1, R6, "sk_buff", "len")
        p.put(fields.LENGTH, R1)
    b.load(R8, R8, IPV6.NEXTHDR, Size.B)
    if p.wants(fields.PROTO_GUARD):
        _walk(p)


def _walk(p: Prologue) -> None:
    # R8: type of the header at R9.
    b = p.b
    bad, found, done = b.fresh("bad"), b.fresh("found"), b.fresh("walked")
    b.mov(R9, IPV6.BYTES)
    b.mov(R1, 0)
    p.store_scratch(frame.SCRATCH_FRAGOFF, R1)
    _jump_unless_walked(p, found)
    _headers(p, bad, found)
    b.label(bad)
    p.put_constant(fields.PROTO_GUARD, GUARD_DROP)
    b.mov(R8, NO_PROTOCOL)
    b.jump(done)
    b.label(found)
    p.store_scratch(frame.SCRATCH_THOFF, R9)
    if p.wants(fields.PROTO):
        b.mov(R1, R8)
        p.put(fields.PROTO, R1)
    b.label(done)


def _headers(p: Prologue, bad: str, found: str) -> None:
    b = p.b
    step, fixed, leave_bad, leave_found = (
        b.fresh(name) for name in ("header", "fixed", "leave", "leave")
    )
    _iterator(p)
    b.mov(R2, 0)
    b.mov(R3, MAX_HEADERS)
    b.kfunc("bpf_iter_num_new")
    b.label(step)
    _iterator(p)
    b.kfunc("bpf_iter_num_next")
    b.jeq(R0, 0, leave_bad)
    _jump_unless_walked(p, leave_found)
    # The routing header is read as 4 bytes by the kernel, and so is a fragment's offset.
    long_read, read = b.fresh("long"), b.fresh("read")
    b.jeq(R8, EXTHDR.ROUTING, long_read)
    b.jeq(R8, EXTHDR.FRAGMENT, long_read)
    p.slice(R9, 2)
    b.jeq(R0, 0, leave_bad)
    b.load(R2, R0, 1, Size.B)
    b.jump(read)
    b.label(long_read)
    p.slice(R9, 4)
    b.jeq(R0, 0, leave_bad)
    b.load(R2, R0, 1, Size.B)
    b.jne(R8, EXTHDR.FRAGMENT, read)
    _fragment(p, leave_bad, leave_found)
    b.mov(R2, 8)
    b.load(R1, R0, 0, Size.B)
    b.jump(fixed)
    b.label(read)
    b.load(R1, R0, 0, Size.B)
    units = b.fresh("units")
    b.jne(R8, EXTHDR.AUTH, units)
    b.add(R2, 2)
    b.lsh(R2, 2)
    b.jump(fixed)
    b.label(units)
    b.add(R2, 1)
    b.lsh(R2, 3)
    b.label(fixed)
    # R1: next type, R2: bytes of this header; it must lie within the packet.
    p.load_member(R3, R6, "sk_buff", "len")
    b.sub(R3, R9)
    b.jlt(R3, R2, leave_bad)
    b.add(R9, R2)
    b.mov(R8, R1)
    b.jump(step)
    for label, then in ((leave_bad, bad), (leave_found, found)):
        b.label(label)
        _iterator(p)
        b.kfunc("bpf_iter_num_destroy")
        b.jump(then)


def _fragment(p: Prologue, bad: str, found: str) -> None:
    # A later fragment: its offset counts, and the header's own next type is the protocol.
    b = p.b
    first = b.fresh("first")
    b.load(R1, R0, 2, Size.H)
    b.be16(R1)
    b.and_(R1, 0xFFF8)
    b.jeq(R1, 0, first)
    p.store_scratch(frame.SCRATCH_FRAGOFF, R1)
    b.load(R8, R0, 0, Size.B)
    b.mov(R9, 0)
    _jump_unless_walked(p, found)
    b.jump(bad)
    b.label(first)


def _iterator(p: Prologue) -> None:
    # struct bpf_iter_num, 8 bytes, where the loop's state will be.
    p.b.mov(R1, R10)
    p.b.add(R1, p.frame.offset(frame.PC))


def _jump_unless_walked(p: Prologue, label: str) -> None:
    # NEXTHDR_NONE ends the walk like a protocol does.
    walked = p.b.fresh("extension")
    for number in WALKED:
        p.b.jeq(R8, number, walked)
    p.b.jump(label)
    p.b.label(walked)
