"""Socket options and structs of the kernel's legacy tables.

Sources: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h.
"""

from __future__ import annotations

from bpfilter.abi.layout import Struct, raw, u32

#: IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
SO_GET_INFO = 64

#: struct ipt_getinfo and ip6t_getinfo: the same 84 bytes.
GETINFO = Struct(
    "ipt_getinfo",
    84,
    raw("name", 0, 32),
    u32("valid_hooks", 32),
    u32("num_entries", 76),
    u32("size", 80),
)
