"""The first options of an IPv6 hop-by-hop or destination options header.

hbh_mt6 (net/ipv6/netfilter/ip6t_hbh.c) compares options one by one, and gives up at one
whose type, or length if it has one, lies behind the header's end; how far the last one
reaches is no matter. Here they are kept, as many as rules ask for, and counted.

The header is found by the walk in ipv6.py; until `extract` comes, the place of the count
holds where.
"""

from __future__ import annotations

from bpfilter.abi.packet import EXTHDR
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R8, R9, R10, Size
from bpfilter.compiler.extract.walk import loop
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.plan.fields import Field


def note(p: Prologue, listed: Field) -> None:
    """Remember that the header is at R9, all of it within the packet; clobbers R0 and R1."""
    p.b.mov(R1, R9)
    p.put(listed, R1)


def extract(p: Prologue) -> None:
    for listed in (fields.HBH_OPTS, fields.DST_OPTS):
        if p.wants(listed):
            _walk(p, listed)


def _walk(p: Prologue, listed: Field) -> None:
    # R9: the next option, R8: end of the header.
    b = p.b
    leave, done = b.fresh("leave"), b.fresh("options")
    count = p.frame.places[listed.name, 0].slot
    p.load_word(count, R9)
    b.jeq(R9, 0, done)
    b.mov(R1, 0)
    p.store_word(count, R1)
    p.open_packet()
    p.slice(R9, EXTHDR.OPTIONS)
    b.jeq(R0, 0, done)
    b.load(R8, R0, EXTHDR.LENGTH, Size.B)
    b.add(R8, 1)
    b.lsh(R8, 3)
    b.add(R8, R9)
    b.add(R9, EXTHDR.OPTIONS)
    with loop(p, {leave: done}):
        last, pad, known = (b.fresh(name) for name in ("last", "pad", "known"))
        b.jge(R9, R8, leave)
        b.mov(R1, R8)
        b.sub(R1, R9)
        b.jeq(R1, 1, last)
        p.slice(R9, 2)
        b.jeq(R0, 0, leave)
        b.load(R1, R0, 0, Size.B)
        b.jeq(R1, 0, pad)
        b.load(R2, R0, 1, Size.B)
        b.lsh(R1, 8)
        b.or_(R1, R2)
        b.add(R2, 2)
        b.jump(known)
        b.label(last)
        p.slice(R9, 1)
        b.jeq(R0, 0, leave)
        b.load(R1, R0, 0, Size.B)
        b.jne(R1, 0, leave)
        b.label(pad)
        b.mov(R2, 1)
        b.label(known)
        b.add(R9, R2)
        _append(p, listed, leave)
    b.label(done)


def _append(p: Prologue, listed: Field, full: str) -> None:
    # The 16 bits in R1, upper half of a word first; one store at a computed place, as in `mark`.
    b = p.b
    count = p.frame.places[listed.name, 0].slot
    words = sum(p.wants_word(listed, word) for word in range(1, listed.words))
    assert all(p.frame.places[listed.name, n].slot == count + n for n in range(1, words + 1))
    p.load_word(count, R3)
    b.jge(R3, 2 * words, full)
    b.mov(R4, R3)
    b.and_(R4, 1)
    b.xor(R4, 1)
    b.lsh(R4, 4)
    b.lsh(R1, R4)
    b.mov(R2, R3)
    b.rsh(R2, 1)
    b.lsh(R2, 2)
    b.add(R2, R10)
    offset = p.frame.word_offset(count + 1)
    b.load(R0, R2, offset, Size.W)
    b.or_(R0, R1)
    b.store(R2, offset, R0, Size.W)
    b.add(R3, 1)
    p.store_word(count, R3)
