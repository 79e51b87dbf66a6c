"""Connection tracking: what nf_ct_get() gives for the packet, and the entry it points to.

skb->_nfct is the address of a `struct nf_conn` with `enum ip_conntrack_info` in its low
three bits. The entry may have its type in a module only, which bpf_rdonly_cast cannot
name, so its members are read at their addresses.
"""

from __future__ import annotations

from bpfilter.abi.helpers import Helper
from bpfilter.asm.insn import R0, R1, R2, R6, R8, R9
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.rules.model import Family

NFCT_INFOMASK = 7  # include/linux/skbuff.h
IP_CT_IS_REPLY = 3  # enum ip_conntrack_info
IP_CT_UNTRACKED = 7
IPS_NAT = 0x30  # IPS_SRC_NAT | IPS_DST_NAT (nf_conntrack_common.h) …
IPS_NAT_TO_STATE = 2  # … become XT_CONNTRACK_STATE_SNAT | _DNAT, two bits higher
STATE_INVALID = 1 << 0  # XT_CONNTRACK_STATE_* (xt_conntrack.h)
STATE_UNTRACKED = 1 << 8

ORIGINAL, REPLY = 0, 1  # enum ip_conntrack_dir
ADDRESSES = (
    (fields.CT_ORIGSRC, ORIGINAL, "src"),
    (fields.CT_ORIGDST, ORIGINAL, "dst"),
    (fields.CT_REPLSRC, REPLY, "src"),
    (fields.CT_REPLDST, REPLY, "dst"),
)
PORTS = (
    (fields.CT_ORIGSRCPORT, ORIGINAL, "src"),
    (fields.CT_ORIGDSTPORT, ORIGINAL, "dst"),
    (fields.CT_REPLSRCPORT, REPLY, "src"),
    (fields.CT_REPLDSTPORT, REPLY, "dst"),
)
_TUPLE_FIELDS = tuple(asked for asked, _, _ in (*ADDRESSES, *PORTS))
FIELDS: tuple[Field, ...] = (
    fields.CT_STATE,
    fields.CT_PRESENT,
    fields.CT_REPLY,
    fields.CT_PROTO,
    fields.CT_MARK,
    fields.CT_STATUS,
    fields.CT_EXPIRE,
    *_TUPLE_FIELDS,
)


def extract(p: Prologue) -> None:
    if not p.wants(*FIELDS):
        return
    b = p.b
    none, done = b.fresh("no_conntrack"), b.fresh("conntrack")
    p.load_member(R8, R6, "sk_buff", "_nfct")
    b.mov(R9, R8)
    b.and_(R9, NFCT_INFOMASK)
    b.and_(R8, ~NFCT_INFOMASK)
    b.jeq(R8, 0, none)
    # R8: the entry, R9: ctinfo
    _entry(p)
    b.jump(done)
    b.label(none)
    _no_entry(p)
    b.label(done)


def _no_entry(p: Prologue) -> None:
    b = p.b
    invalid, known = b.fresh("invalid"), b.fresh("known")
    b.jne(R9, IP_CT_UNTRACKED, invalid)
    p.put_constant(fields.CT_STATE, STATE_UNTRACKED)
    b.jump(known)
    b.label(invalid)
    p.put_constant(fields.CT_STATE, STATE_INVALID)
    b.label(known)


def _entry(p: Prologue) -> None:
    b = p.b
    p.put_constant(fields.CT_PRESENT, 1)
    if p.wants(fields.CT_REPLY):
        original = b.fresh("original")
        b.jlt(R9, IP_CT_IS_REPLY, original)
        p.put_constant(fields.CT_REPLY, 1)
        b.label(original)
    _state(p)
    if p.wants(fields.CT_STATUS):
        _read(p, "status")
        p.put(fields.CT_STATUS, R1)
    if p.wants(fields.CT_MARK):
        _read(p, "mark")
        p.put(fields.CT_MARK, R1)
    if p.wants(fields.CT_PROTO):
        _read(p, f"tuplehash[{ORIGINAL}].tuple.dst.protonum")
        p.put(fields.CT_PROTO, R1)
    _expire(p)
    _tuples(p)


def _state(p: Prologue) -> None:
    # XT_CONNTRACK_STATE_BIT(ctinfo), and the two bits of address translation
    if not p.wants(fields.CT_STATE):
        return
    b = p.b
    _read(p, "status")
    b.and_(R1, IPS_NAT)
    b.lsh(R1, IPS_NAT_TO_STATE)
    b.mov(R2, R9)
    b.mod(R2, IP_CT_IS_REPLY)
    b.mov(R0, 2)
    b.lsh(R0, R2)
    b.or_(R1, R0)
    p.put(fields.CT_STATE, R1)


def _expire(p: Prologue) -> None:
    # nf_ct_expires() / HZ: a signed difference of 32 bits, no less than 0
    if not p.wants(fields.CT_EXPIRE):
        return
    b = p.b
    expired = b.fresh("expired")
    b.call(Helper.JIFFIES64)
    b.mov(R9, R0)
    _read(p, "timeout")
    b.sub32(R1, R9)
    b.jslt32(R1, 0, expired)
    b.div32(R1, p.target.hz)
    p.put(fields.CT_EXPIRE, R1)
    b.label(expired)


def _tuples(p: Prologue) -> None:
    words = 1 if p.family is Family.IPV4 else 4
    for asked, direction, end in ADDRESSES:
        for word in range(words):
            if p.wants_word(asked, word):
                _read(p, f"tuplehash[{direction}].tuple.{end}.u3.all[{word}]")
                p.b.be32(R1)
                p.put(asked, R1, word)
    for asked, direction, end in PORTS:
        if p.wants(asked):
            _read(p, f"tuplehash[{direction}].tuple.{end}.u.all")
            p.b.be16(R1)
            p.put(asked, R1)


def _read(p: Prologue, path: str) -> None:
    # R1 = entry->path
    p.peek_member(R1, R8, "nf_conn", path)
