"""Types and flags of the chunks in an SCTP packet.

The walk is match_packet's (net/netfilter/xt_sctp.c), which drops the packet at a chunk
header that is cut short or has length 0. It may stop before that at a chunk that decides
the match; the bits of all chunks before a bad one are set here, so that a match asks them
first and the guard only if they did not decide.
"""

from __future__ import annotations

from bpfilter.abi.packet import IPPROTO, SCTP, SCTP_CHUNK
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R6, R9, Size
from bpfilter.compiler import frame
from bpfilter.compiler.extract.walk import jump_unless_first, loop, mark
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP, Field

# Chunk types whose flags rules may ask for, and the flag bits kept.
_FLAGS: tuple[tuple[int, Field, int], ...] = (
    (SCTP_CHUNK.DATA, fields.SCTP_DATA_FLAGS, 0xF),
    (SCTP_CHUNK.ABORT, fields.SCTP_ABORT_FLAGS, 1),
    (SCTP_CHUNK.SHUTDOWN_COMPLETE, fields.SCTP_SHUTDOWN_FLAGS, 1),
)


def extract(p: Prologue) -> None:
    if not p.wants(fields.SCTPCHUNK_GUARD, fields.SCTP_CHUNKS, *(field for _, field, _ in _FLAGS)):
        return
    b = p.b
    bad, done = b.fresh("bad"), b.fresh("chunks")
    leave_bad, leave = b.fresh("leave"), b.fresh("leave")
    jump_unless_first(p, IPPROTO.SCTP, done)
    p.load_scratch(R9, frame.SCRATCH_THOFF)
    p.open_packet()
    p.slice(R9, SCTP.BYTES)
    b.jeq(R0, 0, done)
    b.add(R9, SCTP.BYTES)
    with loop(p, {leave_bad: bad, leave: done}):
        p.slice(R9, SCTP_CHUNK.BYTES)
        b.jeq(R0, 0, leave_bad)
        b.load(R1, R0, SCTP_CHUNK.TYPE, Size.B)
        b.load(R4, R0, SCTP_CHUNK.FLAGS, Size.B)
        b.load(R2, R0, SCTP_CHUNK.LENGTH, Size.H)
        b.be16(R2)
        b.jeq(R2, 0, leave_bad)
        b.add(R2, 3)
        b.and_(R2, -4)
        b.add(R9, R2)
        _flags(p)
        mark(p, fields.SCTP_CHUNKS, R1)
        p.load_member(R1, R6, "sk_buff", "len")
        b.jge(R9, R1, leave)
    b.label(bad)
    p.put_constant(fields.SCTPCHUNK_GUARD, GUARD_DROP)
    b.label(done)


def _flags(p: Prologue) -> None:
    # R1: chunk type, R4: its flags; the bit set is the one of that number.
    b = p.b
    for kind, field, mask in _FLAGS:
        if p.wants(field):
            other = b.fresh("flags")
            b.jne(R1, kind, other)
            b.and_(R4, mask)
            b.mov(R3, 1)
            b.lsh(R3, R4)
            p.merge(field, R3)
            b.label(other)
