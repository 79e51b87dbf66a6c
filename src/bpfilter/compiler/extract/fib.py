"""What kind of address the IPv4 routing tables say one is: `addrtype`.

inet_dev_addr_type() (net/ipv4/fib_frontend.c): a few addresses have their type from
birth, all others have that of their route in the local table.
"""

from __future__ import annotations

from bpfilter.abi.packet import IPV4
from bpfilter.asm.insn import R0, R1, R2, R7, R9, Size
from bpfilter.compiler.extract import trie
from bpfilter.compiler.prologue import Prologue
from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.fields import Field

# RTN_* (include/uapi/linux/rtnetlink.h)
RTN_UNICAST = 1
RTN_BROADCAST = 3
RTN_MULTICAST = 5
IFF_L3MDEV = 1 << 18 | 1 << 21  # IFF_L3MDEV_MASTER, IFF_L3MDEV_SLAVE (netdevice.h)


@dataclass(frozen=True, slots=True)
class Ends:
    """Fields that speak of one address: without limit, and limited to a hook's device."""

    header_offset: int
    plain: Field
    limited: tuple[tuple[Field, str], ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return (self.plain, *(asked for asked, _ in self.limited))


SOURCE = Ends(
    IPV4.SADDR,
    fields.SRC_TYPE,
    ((fields.SRC_TYPE_IN, "in"), (fields.SRC_TYPE_OUT, "out")),
)
DESTINATION = Ends(
    IPV4.DADDR,
    fields.DST_TYPE,
    ((fields.DST_TYPE_IN, "in"), (fields.DST_TYPE_OUT, "out")),
)


def extract(p: Prologue) -> None:
    _refuse_vrf(p)
    for ends in (SOURCE, DESTINATION):
        if p.wants(*ends.fields):
            _address(p, ends)


def _refuse_vrf(p: Prologue) -> None:
    # l3mdev_fib_table(): a device in a VRF has a table of its own, which only its driver
    # can tell. Such packets are dropped, and counted as not readable.
    b = p.b
    for member in ("in", "out"):
        asked = (one for ends in (SOURCE, DESTINATION) for one, at in ends.limited if at == member)
        if not p.wants(*asked):
            continue
        none = b.fresh("no_device")
        p.load_member(R1, R7, "nf_hook_state", member)
        b.jeq(R1, 0, none)
        p.load_member(R1, R1, "net_device", "priv_flags")
        b.jset(R1, IFF_L3MDEV, p.unreadable)
        b.label(none)


def _address(p: Prologue, ends: Ends) -> None:
    b = p.b
    known, found, none, done = (b.fresh(name) for name in ("known", "found", "none", "done"))
    p.read(ends.header_offset, 4, p.unreadable)
    b.load(R1, R0, 0, Size.W)
    b.be32(R1)
    p.store_scratch(trie.KEY, R1)
    _without_table(p, known)
    b.mov(R9, RTN_BROADCAST)
    trie.find_local_table(p, known)
    trie.Walk(p).look_up(found, none)
    b.label(none)
    b.mov(R9, RTN_UNICAST)
    b.jump(known)
    b.label(found)
    trie.load_type(p)
    if p.wants(*(asked for asked, _ in ends.limited)):
        trie.load_device(p)
        _put_limited(p, ends)
    _put(p, ends.plain)
    b.jump(done)
    b.label(known)
    for asked in ends.fields:
        _put(p, asked)
    b.label(done)


def _put(p: Prologue, asked: Field) -> None:
    # 1 << R9
    if p.wants(asked):
        p.b.mov(R1, 1)
        p.b.lsh(R1, R9)
        p.put(asked, R1)


def _put_limited(p: Prologue, ends: Ends) -> None:
    # `if (!dev || dev == nhc->nhc_dev) ret = res.type;` and RTN_UNICAST otherwise
    b = p.b
    for asked, member in ends.limited:
        if not p.wants(asked):
            continue
        same, stored = b.fresh("same"), b.fresh("stored")
        p.load_member(R1, R7, "nf_hook_state", member)
        b.jeq(R1, 0, same)
        p.load_scratch(R2, trie.DEVICE, Size.DW)
        b.jeq(R1, R2, same)
        p.put_constant(asked, 1 << RTN_UNICAST)
        b.jump(stored)
        b.label(same)
        _put(p, asked)
        b.label(stored)


def _without_table(p: Prologue, known: str) -> None:
    # R1: the address. ipv4_is_zeronet, ipv4_is_lbcast, ipv4_is_multicast
    b = p.b
    b.mov(R9, RTN_BROADCAST)
    b.jeq(R1, 0, known)
    b.mov(R2, R1)
    b.add32(R2, 1)
    b.jeq(R2, 0, known)
    b.mov(R9, RTN_MULTICAST)
    b.rsh(R1, 28)
    b.jeq(R1, 0xE, known)
