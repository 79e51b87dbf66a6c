"""The IPv4 header. Every packet at a hook has at least its 20 bytes (ip_rcv, ip_local_out)."""

from __future__ import annotations

from bpfilter.abi.packet import IPV4
from bpfilter.asm.insn import R0, R1, R2, R6, R8, Size
from bpfilter.compiler import frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields


def extract(p: Prologue) -> None:
    b = p.b
    p.read(0, IPV4.BYTES, p.unreadable)
    b.mov(R8, R0)
    p.put_be_words(fields.SADDR, R8, IPV4.SADDR, 1, R1)
    p.put_be_words(fields.DADDR, R8, IPV4.DADDR, 1, R1)
    for asked, offset in (
        (fields.PROTO, IPV4.PROTOCOL),
        (fields.TTL, IPV4.TTL),
        (fields.TOS, IPV4.TOS),
    ):
        if p.wants(asked):
            b.load(R1, R8, offset, Size.B)
            p.put(asked, R1)
    _length(p)
    b.load(R1, R8, IPV4.IHL, Size.B)
    b.and_(R1, IPV4.IHL_MASK)
    b.lsh(R1, 2)
    p.store_scratch(frame.SCRATCH_THOFF, R1)
    b.load(R1, R8, IPV4.FRAG_OFF, Size.H)
    b.be16(R1)
    b.and_(R1, IPV4.OFFSET_MASK)
    p.store_scratch(frame.SCRATCH_FRAGOFF, R1)
    if p.wants(fields.FRAGMENT):
        whole = b.fresh("whole")
        b.jeq(R1, 0, whole)
        p.put_constant(fields.FRAGMENT, 1)
        b.label(whole)
    b.load(R8, R8, IPV4.PROTOCOL, Size.B)


def _length(p: Prologue) -> None:
    # skb_ip_totlen: a total length of 0 is a BIG TCP packet, whose length is the buffer's.
    # So since Linux 6.3, which is before every kernel with netfilter links.
    if not p.wants(fields.LENGTH):
        return
    b = p.b
    known = b.fresh("length")
    b.load(R2, R8, IPV4.TOT_LEN, Size.H)
    b.be16(R2)
    b.jne(R2, 0, known)
    p.load_member(R2, R6, "sk_buff", "len")
    b.label(known)
    p.put(fields.LENGTH, R2)
