"""Whether the last 64 bits of the source address are made of the source MAC address.

eui64_mt6 (net/ipv6/netfilter/ip6t_eui64.c), which the kernel allows where packets come
in: PREROUTING, INPUT and FORWARD. An Ethernet device may bring a packet without a whole
Ethernet header, such as multicast looped back to its sender: those are dropped, as
stable kernels do since they check it (older ones compare with what happens to lie there).
"""

from __future__ import annotations

from bpfilter.abi.packet import IPV6
from bpfilter.asm.insn import R0, R1, R2, R3, R6, R8, R9, Size
from bpfilter.compiler.extract.metadata import ARPHRD_ETHER, ETH_HLEN
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.plan.fields import GUARD_DROP, GUARD_FAIL

ETH_P_IPV6 = 0x86DD
MAC_HEADER_UNSET = 0xFFFF  # skb_mac_header_was_set


def extract(p: Prologue) -> None:
    if not p.wants(fields.EUI64, fields.EUI64_GUARD):
        return
    b = p.b
    fail, drop, done = (b.fresh(name) for name in ("fail", "drop", "eui64"))
    p.load_member(R1, R6, "sk_buff", "dev")
    b.jeq(R1, 0, fail)
    p.load_member(R2, R1, "net_device", "type")
    b.jne(R2, ARPHRD_ETHER, fail)
    p.load_member(R1, R6, "sk_buff", "mac_header")
    b.jeq(R1, MAC_HEADER_UNSET, drop)
    p.load_member(R2, R6, "sk_buff", "network_header")
    b.sub32(R2, R1)
    b.jlt(R2, ETH_HLEN, drop)
    p.load_member(R2, R6, "sk_buff", "head")
    b.add(R2, R1)
    p.cast(R2, "ethhdr")
    b.load(R1, R0, p.member("ethhdr", "h_proto"), Size.H)
    b.be16(R1)
    b.jne(R1, ETH_P_IPV6, done)
    _identifier(p)
    p.read(IPV6.SADDR + 8, 8, p.unreadable)
    for word, made in enumerate((R8, R9)):
        b.load(R1, R0, 4 * word, Size.W)
        b.be32(R1)
        b.jne(R1, made, done)
    p.put_constant(fields.EUI64, 1)
    b.jump(done)
    for label, guard in ((drop, GUARD_DROP), (fail, GUARD_FAIL)):
        b.label(label)
        p.put_constant(fields.EUI64_GUARD, guard)
        b.jump(done)
    b.label(done)


def _identifier(p: Prologue) -> None:
    # MAC abcdef at R0, as struct ethhdr: R8 = a^2 b c ff, R9 = fe d e f.
    b = p.b
    source = p.member("ethhdr", "h_source")
    b.load(R8, R0, source, Size.W)
    b.load(R9, R0, source + 2, Size.W)
    for half in (R8, R9):
        b.be32(half)
    b.xor(R8, 0x0200_0000)
    b.or_(R8, 0xFF)
    b.and_(R9, 0x00FF_FFFF)
    b.imm64(R3, 0xFE00_0000)
    b.or_(R9, R3)
