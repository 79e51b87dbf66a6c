"""The little of nfnetlink that is asked without a netlink library (include/uapi/linux/netlink.h,
netfilter/nfnetlink.h, netfilter/nf_tables.h): a dump of all nf_tables rules."""

from __future__ import annotations

import struct

AF_NETLINK = 16
SOCK_RAW = 3
NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NLM_F_REQUEST = 0x001
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
NFTA_RULE_TABLE = 1
NLA_TYPE_MASK = 0x3FFF

#: struct nlmsghdr: length, type, flags, sequence, port; host order.
NLMSGHDR = struct.Struct("=IHHII")
#: struct nfgenmsg: family, version, resource id.
NFGENMSG = struct.Struct(">BBH")
#: struct nlattr: length, type.
NLATTR = struct.Struct("=HH")

DUMP_RULES = NLMSGHDR.pack(
    NLMSGHDR.size + NFGENMSG.size,
    NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE,
    NLM_F_REQUEST | NLM_F_DUMP,
    1,
    0,
) + NFGENMSG.pack(0, 0, 0)
