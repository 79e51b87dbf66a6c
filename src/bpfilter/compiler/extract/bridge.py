"""The bridge ports of a bridged packet, from its `struct nf_bridge_info`.

physdev_mt (net/netfilter/xt_physdev.c). The info is an skb extension, the first one of
`enum skb_ext_id` in kernels that have it; others see no bridged packets.
"""

from __future__ import annotations

from bpfilter.asm.insn import R0, R1, R6, R7, R8, R9
from bpfilter.compiler.extract.walk import loop
from bpfilter.compiler.prologue import Prologue
from bpfilter.plan import fields

SKB_EXT_BRIDGE_NF = 0
SKB_EXT_ALIGN = 3  # offsets in struct skb_ext count 8 bytes
NETDEV_HASHENTRIES = 1 << 8  # include/net/net_namespace.h


def extract(p: Prologue) -> None:
    asked_in = p.wants(fields.PHYS_IN_SET, fields.PHYS_IN)
    asked_out = p.wants(fields.PHYS_OUT_SET, fields.PHYS_OUT)
    if not (asked_in or asked_out or p.wants(fields.PHYS_BRIDGED)):
        return
    if not p.types.has("nf_bridge_info", "physoutdev"):
        return
    b = p.b
    none = b.fresh("not_bridged")
    p.load_member(R1, R6, "sk_buff", "active_extensions")
    b.and_(R1, 1 << SKB_EXT_BRIDGE_NF)
    b.jeq(R1, 0, none)
    p.put_constant(fields.PHYS_BRIDGED, 1)
    p.load_member(R8, R6, "sk_buff", "extensions")
    p.load_member(R1, R8, "skb_ext", f"offset[{SKB_EXT_BRIDGE_NF}]")
    b.lsh(R1, SKB_EXT_ALIGN)
    b.add(R8, R1)
    p.cast(R8, "nf_bridge_info")
    b.mov(R8, R0)
    if asked_out:
        _output_port(p)
    if asked_in:
        _input_port(p)
    b.label(none)


def _output_port(p: Prologue) -> None:
    unset = p.b.fresh("no_port")
    p.load_member(R9, R8, "nf_bridge_info", "physoutdev")
    p.b.jeq(R9, 0, unset)
    p.put_constant(fields.PHYS_OUT_SET, 1)
    p.put_be_words(fields.PHYS_OUT, R9, p.member("net_device", "name"), 4, R1)
    p.b.label(unset)


def _input_port(p: Prologue) -> None:
    b = p.b
    unset = b.fresh("no_port")
    if p.types.has("nf_bridge_info", "physinif"):
        p.load_member(R8, R8, "nf_bridge_info", "physinif")
        _device_by_index(p, unset)
    else:
        # Before Linux 6.8, commit 9874808878d9 ("replace physindev with physinif")
        p.load_member(R9, R8, "nf_bridge_info", "physindev")
        b.jeq(R9, 0, unset)
    p.put_constant(fields.PHYS_IN_SET, 1)
    p.put_be_words(fields.PHYS_IN, R9, p.member("net_device", "name"), 4, R1)
    b.label(unset)


def _device_by_index(p: Prologue, none: str) -> None:
    # R9 = dev_get_by_index_rcu(net, R8), or go to `none`
    b = p.b
    found, absent, endless, device = (
        b.fresh(name) for name in ("found", "absent", "endless", "device")
    )
    p.load_member(R9, R7, "nf_hook_state", "net")
    p.load_member(R9, R9, "net", "dev_index_head")
    b.mov(R1, R8)
    b.and_(R1, NETDEV_HASHENTRIES - 1)
    b.lsh(R1, 3)
    b.add(R9, R1)
    p.peek(R9, R9)
    node = p.member("net_device", "index_hlist")
    with loop(p, {endless: p.unreadable, found: device, absent: none}):
        # R9: an hlist_node in a device, whose first member leads to the next one
        b.jeq(R9, 0, absent)
        p.peek(R1, R9, p.member("net_device", "ifindex") - node, 4)
        b.jeq(R1, R8, found)
        p.peek(R9, R9)
    b.label(device)
    b.sub(R9, node)
    p.cast(R9, "net_device")
    b.mov(R9, R0)
