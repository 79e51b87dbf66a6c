"""Kinds of the options in a TCP or DCCP header.

tcp_find_option (net/netfilter/xt_tcpudp.c) and dccp_find_option (xt_dccp.c) walk the
options for one kind; this walk marks every kind they could have stopped at. Neither
minds a length that leads astray: 0 counts as 1, and past the end is the end.

The guards say only what becomes of the search, 0 or hotdrop: a packet that has no
such header has been sorted out by the header's own guard before.
"""

from __future__ import annotations

from bpfilter.abi.packet import DCCP, IPPROTO, TCP
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R8, R9, Size
from bpfilter.compiler import frame
from bpfilter.compiler.extract.walk import jump_if_beyond, jump_unless_first, loop, mark
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP, Field

# Option kinds below this are one byte long: end of options, no operation (padding in DCCP).
_FIRST_WITH_LENGTH = 2

# dccp_packet_hdr_len (include/linux/dccp.h) in words of 4 bytes, 4 bits for each type:
# 1 for REQUEST, 0 for DATA, 3 for RESPONSE, RESET and unassigned types, 2 for all others.
_DCCP_TYPE_WORDS = 0x3333_3322_3222_2031


def extract(p: Prologue) -> None:
    if p.wants(fields.TCPOPT_GUARD, fields.TCP_OPTIONS):
        _tcp(p)
    if p.wants(fields.DCCPOPT_GUARD, fields.DCCP_OPTIONS):
        _dccp(p)


def _tcp(p: Prologue) -> None:
    b = p.b
    bad, walked, done = (b.fresh(name) for name in ("bad", "walked", "options"))
    jump_unless_first(p, IPPROTO.TCP, done)
    p.load_scratch(R9, frame.SCRATCH_THOFF)
    p.read(R9, TCP.BYTES, done)
    b.load(R9, R0, TCP.DOFF, Size.B)
    b.rsh(R9, 4)
    b.lsh(R9, 2)
    b.jlt(R9, TCP.BYTES, bad)
    p.load_scratch(R8, frame.SCRATCH_THOFF)
    b.add(R9, R8)
    b.add(R8, TCP.BYTES)
    jump_if_beyond(p, R9, bad)
    _walk(p, fields.TCP_OPTIONS)
    b.jump(walked)
    b.label(bad)
    p.put_constant(fields.TCPOPT_GUARD, GUARD_DROP)
    b.label(walked)
    b.mov(R8, IPPROTO.TCP)
    b.label(done)


def _dccp(p: Prologue) -> None:
    b = p.b
    bad, walked, done = (b.fresh(name) for name in ("bad", "walked", "options"))
    jump_unless_first(p, IPPROTO.DCCP, done)
    p.load_scratch(R9, frame.SCRATCH_THOFF)
    p.read(R9, DCCP.BYTES, done)
    b.load(R9, R0, DCCP.DOFF, Size.B)
    b.lsh(R9, 2)
    b.load(R1, R0, DCCP.TYPE, Size.B)
    _dccp_header_length(p)
    b.jlt(R9, R2, bad)
    b.jeq(R9, R2, done)
    p.load_scratch(R8, frame.SCRATCH_THOFF)
    b.add(R9, R8)
    b.add(R8, R2)
    jump_if_beyond(p, R9, bad)
    _walk(p, fields.DCCP_OPTIONS)
    b.jump(walked)
    b.label(bad)
    p.put_constant(fields.DCCPOPT_GUARD, GUARD_DROP)
    b.label(walked)
    b.mov(R8, IPPROTO.DCCP)
    b.label(done)


def _dccp_header_length(p: Prologue) -> None:
    # R2 = __dccp_hdr_len: of the byte in R1, bit 0 asks for long sequence numbers.
    b = p.b
    b.mov(R3, R1)
    b.and_(R3, 1)
    b.rsh(R1, 1)
    b.and_(R1, 0xF)
    b.lsh(R1, 2)
    b.imm64(R2, _DCCP_TYPE_WORDS)
    b.rsh(R2, R1)
    b.and_(R2, 0xF)
    b.add(R2, R3)
    b.lsh(R2, 2)
    b.add(R2, DCCP.BYTES)


def _walk(p: Prologue, seen: Field) -> None:
    # Options from R8 up to R9, all within the packet.
    b = p.b
    leave, done = b.fresh("leave"), b.fresh("walked")
    p.open_packet()
    with loop(p, {leave: done}):
        last, single, known = (b.fresh(name) for name in ("last", "single", "known"))
        b.jge(R8, R9, leave)
        b.mov(R1, R9)
        b.sub(R1, R8)
        b.jeq(R1, 1, last)
        p.slice(R8, 2)
        b.jeq(R0, 0, leave)
        b.load(R1, R0, 0, Size.B)
        b.load(R4, R0, 1, Size.B)
        b.jlt(R1, _FIRST_WITH_LENGTH, single)
        b.jne(R4, 0, known)
        b.jump(single)
        b.label(last)
        p.slice(R8, 1)
        b.jeq(R0, 0, leave)
        b.load(R1, R0, 0, Size.B)
        b.label(single)
        b.mov(R4, 1)
        b.label(known)
        b.add(R8, R4)
        mark(p, seen, R1)
    b.label(done)
