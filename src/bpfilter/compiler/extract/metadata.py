"""What the kernel keeps beside the packet: mark, CPU, packet type, source MAC."""

from __future__ import annotations

from bpfilter.abi.helpers import Helper
from bpfilter.abi.packet import IPV4
from bpfilter.asm.insn import R0, R1, R2, R3, R6, R8, R9, Size
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields
from bpfilter.rules.model import Family

ETH_HLEN = 14
ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h

# include/uapi/linux/if_packet.h
PACKET_BROADCAST = 1
PACKET_MULTICAST = 2
PACKET_LOOPBACK = 5


def extract(p: Prologue) -> None:
    if p.wants(fields.MARK):
        p.load_member(R1, R6, "sk_buff", "mark")
        p.put(fields.MARK, R1)
    if p.wants(fields.CPU):
        p.b.call(Helper.GET_SMP_PROCESSOR_ID)
        p.b.mov(R1, R0)
        p.put(fields.CPU, R1)
    if p.wants(fields.PKTTYPE):
        _pkttype(p)
    if p.wants(fields.MAC_OK, fields.MAC):
        _mac(p)


def _pkttype(p: Prologue) -> None:
    # pkttype_mt: a packet looped back counts as what it was sent as.
    b = p.b
    known = b.fresh("pkttype")
    p.load_member(R1, R6, "sk_buff", "pkt_type")
    b.jne(R1, PACKET_LOOPBACK, known)
    if p.family is Family.IPV6:
        b.mov(R1, PACKET_MULTICAST)
    else:
        p.read(IPV4.DADDR, 1, p.unreadable)
        b.load(R2, R0, 0, Size.B)
        b.and_(R2, 0xF0)
        b.mov(R1, PACKET_MULTICAST)
        b.jeq(R2, 0xE0, known)
        b.mov(R1, PACKET_BROADCAST)
    b.label(known)
    p.put(fields.PKTTYPE, R1)


def _mac(p: Prologue) -> None:
    # mac_mt: an Ethernet device, and a whole Ethernet header between head and data.
    b = p.b
    done = b.fresh("no_mac")
    p.load_member(R1, R6, "sk_buff", "dev")
    b.jeq(R1, 0, done)
    p.load_member(R2, R1, "net_device", "type")
    b.jne(R2, ARPHRD_ETHER, done)
    p.load_member(R8, R6, "sk_buff", "head")
    p.load_member(R9, R6, "sk_buff", "mac_header")
    p.load_member(R3, R6, "sk_buff", "data")
    b.add(R8, R9)
    b.mov(R1, R8)
    b.add(R1, ETH_HLEN)
    b.jgt(R1, R3, done)
    # Any struct large enough serves to read raw bytes.
    p.cast(R8, "ethhdr")
    b.mov(R8, R0)
    b.load(R1, R8, p.member("ethhdr", "h_source"), Size.W)
    b.be32(R1)
    p.put(fields.MAC, R1, 0)
    b.load(R1, R8, p.member("ethhdr", "h_source") + 4, Size.H)
    b.be16(R1)
    b.lsh(R1, 16)
    p.put(fields.MAC, R1, 1)
    p.put_constant(fields.MAC_OK, 1)
    b.label(done)
