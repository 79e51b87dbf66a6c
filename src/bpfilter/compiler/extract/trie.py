"""A look-up in an IPv4 routing table, which a program can only do by reading the table itself.

fib_table_lookup() (net/ipv4/fib_trie.c) for a flow of nothing but a destination, with its
backtracking: one node, route or next hop a step. Hooks run under rcu_read_lock, which
is what the trie needs.

R8 is the node at hand (`n` of the kernel), later a route of its leaf (`fa`); R9 the
node to go back to (`pn`). Both are plain numbers: the verifier need not know how the
kernel's structs lie in each other. The rest is in the scratch buffer.
"""

from __future__ import annotations

from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R7, R8, R9, Reg, Size
from bpfilter.compiler import frame
from bpfilter.compiler.extract.walk import loop
from bpfilter.compiler.prologue import Prologue

RT_TABLE_LOCAL = 255  # include/uapi/linux/rtnetlink.h
RTN_BLACKHOLE = 6  # this and all above are errors in fib_props (fib_semantics.c)
RTNH_F_DEAD = 1
RTNH_F_LINKDOWN = 16
IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN = 29  # include/uapi/linux/ip.h
KEYLENGTH = 32

KEY = frame.SCRATCH_BUFFER  # u32: the address
CINDEX = KEY + 4  # u32: child of pn that was taken
MODE = KEY + 8  # u32: which of the parts below comes next
DIFFERENCE = KEY + 12  # u32: address ^ key of the leaf
LEFT = KEY + 16  # u32: next hops not looked at yet; while going back, key of the node left
HOP = KEY + 24  # u64: the next one of them
DEVICE = KEY + 32  # u64: device of the route found

#: From a fib_alias to its nexthop object.
NEXTHOP = (("fib_alias", "fa_info"), ("fib_info", "nh"))

DESCEND, PREFIX, BACK, ROUTE, NEXT_HOP, NEXT_HOP_OF_GROUP = range(6)


def find_local_table(p: Prologue, absent: str) -> None:
    """R8 = fib_get_table(net, RT_TABLE_LOCAL), or go to `absent`; keeps R9."""
    b = p.b
    endless, leave, table, none = (
        b.fresh(name) for name in ("endless", "leave", "table", "no_table")
    )
    # FIB_TABLE_HASHSZ (include/net/ip_fib.h): 256 with CONFIG_IP_MULTIPLE_TABLES, else 2
    buckets = 256 if p.types.has("netns_ipv4", "fib_main") else 2
    p.load_member(R8, R7, "nf_hook_state", "net")
    p.load_member(R8, R8, "net", "ipv4.fib_table_hash")
    p.peek(R8, R8, RT_TABLE_LOCAL % buckets * 8)
    with loop(p, {endless: p.unreadable, leave: table, none: absent}):
        b.jeq(R8, 0, none)
        p.peek_member(R1, R8, "fib_table", "tb_id")
        b.jeq(R1, RT_TABLE_LOCAL, leave)
        p.peek(R8, R8)
    b.label(table)


class Walk:
    """The walk; labels of its parts, and the places where one part hands over to the next."""

    def __init__(self, p: Prologue) -> None:
        self.p = p
        self.b = p.b
        self.step = ""
        self.parts = {mode: p.b.fresh(f"fib{mode}") for mode in range(6)}
        self.leaf = p.b.fresh("leaf")
        self.next_route = p.b.fresh("next_route")
        self.nexthop = p.b.fresh("nexthop")
        self.endless, self.success, self.failure = (
            p.b.fresh(name) for name in ("endless", "success", "failure")
        )

    def look_up(self, found: str, none: str) -> None:
        """Look up KEY in the table at R8: go to `found` with R8 = its fib_alias, or to `none`."""
        p, b = self.p, self.b
        p.peek_member(R9, R8, "fib_table", "tb_data")
        b.mov(R1, 0)
        p.store_scratch(CINDEX, R1)
        self._child(R9)
        b.jeq(R8, 0, none)
        self._mode(DESCEND)
        exits = {self.endless: p.unreadable, self.success: found, self.failure: none}
        with loop(p, exits) as self.step:
            p.load_scratch(R1, MODE)
            for mode in (PREFIX, BACK, ROUTE, NEXT_HOP, NEXT_HOP_OF_GROUP):
                b.jeq(R1, mode, self.parts[mode])
            self._descend()
            self._prefix()
            self._back()
            self._leaf()
            self._route()
            self._next_hops()
            self._nexthop_object()

    def _mode(self, mode: int) -> None:
        self.b.mov(R1, mode)
        self.p.store_scratch(MODE, R1)

    def _go_on(self, mode: int) -> None:
        self._mode(mode)
        self.b.jump(self.step)

    def _child(self, slot: Reg) -> None:
        # R8 = child `slot` points to: the address of a node plus 8 * index
        self.p.peek(R8, slot, self.p.member("key_vector", "tnode"))

    def _node(self, node: Reg) -> None:
        # R1 = key, R3 = pos, R5 = bits, R4 = slen
        p = self.p
        p.cast(node, "key_vector")
        for reg, member in ((R1, "key"), (R3, "pos"), (R4, "slen"), (R5, "bits")):
            p.load_member(reg, R0, "key_vector", member)

    def _descend(self) -> None:
        """Step 1: travel to the longest prefix match."""
        p, b = self.p, self.b
        below = b.fresh("below")
        self._node(R8)
        p.load_scratch(R2, KEY)
        b.xor(R1, R2)
        b.mov(R2, R1)
        b.rsh(R1, R3)
        b.mov(R0, R1)
        b.rsh(R0, R5)
        b.jne(R0, 0, self.parts[PREFIX])
        b.jeq(R5, 0, self.leaf)
        b.jle(R4, R3, below)
        b.mov(R9, R8)
        p.store_scratch(CINDEX, R1)
        b.label(below)
        b.lsh(R1, 3)
        b.add(R1, R8)
        self._child(R1)
        b.jeq(R8, 0, self.parts[BACK])
        b.jump(self.step)

    def _prefix(self) -> None:
        """Step 2: the leftmost leaf below whose prefix may still fit."""
        p, b = self.p, self.b
        b.label(self.parts[PREFIX])
        self._node(R8)
        # prefix_mismatch(): (key ^ prefix) & (prefix | -prefix)
        p.load_scratch(R2, KEY)
        b.xor(R2, R1)
        b.mov32(R0, R1)
        b.neg32(R0)
        b.or_(R0, R1)
        b.and_(R2, R0)
        b.jne(R2, 0, self.parts[BACK])
        b.jeq(R4, R3, self.parts[BACK])
        b.jeq(R5, 0, self.leaf)
        self._child(R8)
        b.jeq(R8, 0, self.parts[BACK])
        self._go_on(PREFIX)

    def _back(self) -> None:
        """Strip the lowest bit of the index into pn, or ascend to its parent."""
        p, b = self.p, self.b
        strip, empty = b.fresh("strip"), b.fresh("empty")
        b.label(self.parts[BACK])
        p.load_scratch(R1, CINDEX)
        b.jne(R1, 0, strip)
        self._node(R9)
        b.jge(R3, KEYLENGTH, self.failure)
        p.store_scratch(LEFT, R1)
        p.peek(R9, R9, p.member("tnode", "parent") - p.member("tnode", "kv"))
        self._node(R9)
        p.load_scratch(R2, LEFT)
        b.xor(R1, R2)
        b.rsh(R1, R3)
        p.store_scratch(CINDEX, R1)
        self._go_on(BACK)
        b.label(strip)
        b.mov(R2, R1)
        b.sub(R2, 1)
        b.and_(R1, R2)
        p.store_scratch(CINDEX, R1)
        b.lsh(R1, 3)
        b.add(R1, R9)
        self._child(R1)
        b.jeq(R8, 0, empty)
        self._go_on(PREFIX)
        b.label(empty)
        self._go_on(BACK)

    def _leaf(self) -> None:
        """Step 3: the routes of a leaf, in order."""
        p, b = self.p, self.b
        b.label(self.leaf)
        self._node(R8)
        p.load_scratch(R2, KEY)
        b.xor(R1, R2)
        p.store_scratch(DIFFERENCE, R1)
        p.peek_member(R8, R8, "key_vector", "leaf")
        self._go_on(ROUTE)

    def _route(self) -> None:
        p, b = self.p, self.b
        b.label(self.parts[ROUTE])
        b.jeq(R8, 0, self.parts[BACK])
        p.cast(R8, "fib_alias")
        p.load_member(R2, R0, "fib_alias", "fa_slen")
        p.load_scratch(R1, DIFFERENCE)
        b.rsh(R1, R2)
        b.jne(R1, 0, self.next_route)
        p.load_member(R1, R0, "fib_alias", "fa_dscp")
        b.jne(R1, 0, self.next_route)
        p.load_member(R2, R0, "fib_alias", "fa_info")
        p.load_member(R1, R2, "fib_info", "fib_dead")
        b.jne(R1, 0, self.next_route)
        p.load_member(R1, R0, "fib_alias", "fa_type")
        b.jge(R1, RTN_BLACKHOLE, self.failure)
        p.load_member(R1, R2, "fib_info", "fib_flags")
        b.jset(R1, RTNH_F_DEAD, self.next_route)
        p.load_member(R1, R2, "fib_info", "nh")
        b.jne(R1, 0, self.nexthop)
        p.load_member(R1, R2, "fib_info", "fib_nhs")
        p.store_scratch(LEFT, R1)
        p.peek_member(R1, R8, "fib_alias", "fa_info")
        b.add(R1, p.member("fib_info", "fib_nh"))
        p.store_scratch(HOP, R1, Size.DW)
        self._go_on(NEXT_HOP)
        b.label(self.next_route)
        p.peek(R8, R8)
        self._go_on(ROUTE)

    def _nexthop_object(self) -> None:
        # nexthop_get_nhc_lookup(), and nexthop_is_blackhole() before it
        p, b = self.p, self.b
        group, several = b.fresh("group"), b.fresh("several")
        b.label(self.nexthop)
        _follow(p, R1, *NEXTHOP, ("nexthop", "is_group"))
        b.jne(R1, 0, group)
        _follow(p, R1, *NEXTHOP, ("nexthop", "nh_info"), ("nh_info", "reject_nh"))
        b.jne(R1, 0, self.failure)
        b.mov(R1, 1)
        p.store_scratch(LEFT, R1)
        _follow(p, R1, *NEXTHOP, ("nexthop", "nh_info"))
        b.add(R1, p.member("nh_info", "fib_nhc"))
        p.store_scratch(HOP, R1, Size.DW)
        self._go_on(NEXT_HOP)
        b.label(group)
        _follow(p, R1, *NEXTHOP, ("nexthop", "nh_grp"), ("nh_group", "num_nh"))
        p.store_scratch(LEFT, R1)
        b.jgt(R1, 1, several)
        _first_of_group(p)
        p.peek_member(R1, R1, "nh_info", "reject_nh")
        b.jne(R1, 0, self.failure)
        b.label(several)
        _follow(p, R1, *NEXTHOP, ("nexthop", "nh_grp"))
        b.add(R1, p.member("nh_group", "nh_entries"))
        p.store_scratch(HOP, R1, Size.DW)
        self._mode(NEXT_HOP_OF_GROUP)

    def _next_hops(self) -> None:
        """Find a next hop that is alive: fib_lookup_good_nhc()."""
        p, b = self.p, self.b
        check, exhausted = b.fresh("check"), b.fresh("exhausted")
        for mode, struct in ((NEXT_HOP_OF_GROUP, "nh_grp_entry"), (NEXT_HOP, "fib_nh")):
            b.label(self.parts[mode])
            p.load_scratch(R1, LEFT)
            b.jeq(R1, 0, exhausted)
            b.sub(R1, 1)
            p.store_scratch(LEFT, R1)
            p.load_scratch(R1, HOP, Size.DW)
            b.mov(R2, R1)
            b.add(R2, p.types.size(struct))
            p.store_scratch(HOP, R2, Size.DW)
            if mode == NEXT_HOP_OF_GROUP:
                p.peek_member(R1, R1, struct, "nh")
                p.peek_member(R1, R1, "nexthop", "nh_info")
                b.add(R1, p.member("nh_info", "fib_nhc"))
                b.jump(check)
        b.label(check)
        p.cast(R1, "fib_nh_common")
        p.load_member(R1, R0, "fib_nh_common", "nhc_flags")
        b.jset(R1, RTNH_F_DEAD, self.step)
        b.and_(R1, RTNH_F_LINKDOWN)
        b.jeq(R1, 0, self.success)
        self._ignore_linkdown()
        b.jump(self.success)
        b.label(exhausted)
        # `goto miss` for a nexthop object, the next route otherwise
        _follow(p, R1, *NEXTHOP)
        b.jeq(R1, 0, self.next_route)
        b.jump(self.parts[BACK])

    def _ignore_linkdown(self) -> None:
        # R0: struct fib_nh_common. ip_ignore_linkdown(): set for the device or for all
        p, b = self.p, self.b
        setting = f"data[{IPV4_DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN - 1}]"
        p.load_member(R2, R0, "fib_nh_common", "nhc_dev")
        p.load_member(R1, R2, "net_device", "ip_ptr")
        b.jeq(R1, 0, self.success)
        p.load_member(R1, R1, "in_device", f"cnf.{setting}")
        b.jne(R1, 0, self.step)
        p.load_member(R1, R2, "net_device", "nd_net.net")
        p.load_member(R1, R1, "net", "ipv4.devconf_all")
        p.load_member(R1, R1, "ipv4_devconf", setting)
        b.jne(R1, 0, self.step)


def load_type(p: Prologue) -> None:
    """R9 = RTN_* of the route at R8."""
    p.peek_member(R9, R8, "fib_alias", "fa_type")


def load_device(p: Prologue) -> None:
    """DEVICE = fib_info_nhc(fa->fa_info, 0)->nhc_dev of the route at R8; keeps R9."""
    b = p.b
    plain, single, device, done = (b.fresh(name) for name in ("plain", "single", "device", "done"))
    _follow(p, R1, *NEXTHOP)
    b.jeq(R1, 0, plain)
    _follow(p, R1, *NEXTHOP, ("nexthop", "is_group"))
    b.jeq(R1, 0, single)
    _first_of_group(p)
    b.jump(device)
    b.label(single)
    _follow(p, R1, *NEXTHOP, ("nexthop", "nh_info"))
    b.label(device)
    p.peek_member(R1, R1, "nh_info", "fib_nhc.nhc_dev")
    b.jump(done)
    b.label(plain)
    _follow(p, R1, ("fib_alias", "fa_info"))
    p.peek(R1, R1, p.member("fib_info", "fib_nh") + p.member("fib_nh", "nh_common.nhc_dev"))
    b.label(done)
    p.store_scratch(DEVICE, R1, Size.DW)


def _first_of_group(p: Prologue) -> None:
    # R1 = fa->fa_info->nh->nh_grp->nh_entries[0].nh->nh_info
    _follow(p, R1, *NEXTHOP, ("nexthop", "nh_grp"))
    p.peek(R1, R1, p.member("nh_group", "nh_entries") + p.member("nh_grp_entry", "nh"))
    p.peek_member(R1, R1, "nexthop", "nh_info")


def _follow(p: Prologue, dst: Reg, *members: tuple[str, str]) -> None:
    # dst = R8->a->b->c, each a (struct, member)
    src = R8
    for struct, member in members:
        p.peek_member(dst, src, struct, member)
        src = dst
