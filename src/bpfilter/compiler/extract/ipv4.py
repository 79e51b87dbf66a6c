"""The IPv4 header. Every packet at a hook has at least its 20 bytes (ip_rcv, ip_local_out).

It leaves the protocol in R8 and the offset of the transport header in R9.
"""

from __future__ import annotations

from bpfilter.abi.packet import IPV4
from bpfilter.asm.insn import R0, R1, R2, R3, R5, R6, R8, R9
from bpfilter.compiler import frame
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields


def extract(p: Prologue) -> None:
    b = p.b
    p.read(0, IPV4.BYTES, p.unreadable)
    b.mov(R5, R0)
    p.put_be_words(fields.DADDR, R5, IPV4.DADDR, 1, R1)
    # R9: version, header length, TOS, total length, identification, fragment offset; R8: TTL,
    # protocol, checksum, source.
    b.load(R9, R5, 0)
    b.be64(R9)
    b.load(R8, R5, 8)
    b.be64(R8)
    b.mov(R1, R8)
    p.put(fields.SADDR, R1)
    _length(p)
    b.mov(R3, R9)
    b.and_(R3, IPV4.OFFSET_MASK)
    p.store_scratch(frame.SCRATCH_FRAGOFF, R3)
    # Bit 13 of this says whether there is an offset.
    b.add(R3, IPV4.OFFSET_MASK)
    p.put_together(
        (fields.PROTO, R8, 48),
        (fields.TTL, R8, 56),
        (fields.TOS, R9, 48),
        (fields.FRAGMENT, R3, 13),
    )
    b.rsh(R8, 48)
    b.and_(R8, 0xFF)
    b.rsh(R9, 54)
    b.and_(R9, IPV4.IHL_MASK << 2)
    p.store_scratch(frame.SCRATCH_THOFF, R9)


def _length(p: Prologue) -> None:
    # skb_ip_totlen: a total length of 0 is a BIG TCP packet, whose length is the buffer's.
    # So since Linux 6.3, which is before every kernel with netfilter links.
    if not p.wants(fields.LENGTH):
        return
    b = p.b
    known = b.fresh("length")
    b.mov(R2, R9)
    b.rsh(R2, 32)
    b.and_(R2, 0xFFFF)
    b.jne(R2, 0, known)
    p.load_member(R2, R6, "sk_buff", "len")
    b.label(known)
    p.put(fields.LENGTH, R2)
