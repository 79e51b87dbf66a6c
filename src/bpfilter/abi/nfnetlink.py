"""The little of nfnetlink that is asked without a netlink library (include/uapi/linux/netlink.h,
netfilter/nfnetlink.h, netfilter/nf_tables.h): a dump of all nf_tables rules, the number of the
last change, and a table deleted if that still is the last one."""

from __future__ import annotations

import struct

AF_NETLINK = 16
SOCK_RAW = 3
NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFNL_BATCH_GENID = 1
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFT_MSG_NEWGEN = 15
NFT_MSG_GETGEN = 16
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3
NFTA_TABLE_NAME = 1
NFTA_RULE_TABLE = 1
NFTA_GEN_ID = 1
NLA_TYPE_MASK = 0x3FFF

#: struct nlmsghdr: length, type, flags, sequence, port; host order.
NLMSGHDR = struct.Struct("=IHHII")
#: struct nfgenmsg: family, version, resource id.
NFGENMSG = struct.Struct(">BBH")
#: struct nlattr: length, type.
NLATTR = struct.Struct("=HH")

#: struct nlmsgerr begins with this: 0, or an errno below zero.
NLMSGERR = struct.Struct("=i")
#: Attributes that are numbers are in network order.
NUMBER = struct.Struct(">I")


def message(kind: int, flags: int, family: int = 0, attributes: bytes = b"", to: int = 0) -> bytes:
    """Give a request of nfnetlink; `to` is the resource id, which batches name a subsystem by."""
    body = NFGENMSG.pack(family, 0, to) + attributes
    return NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Give an attribute, padded to what the next one begins at."""
    return NLATTR.pack(NLATTR.size + len(value), kind) + value + bytes(-len(value) % 4)


DUMP_RULES = message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP)
GET_GENERATION = message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0)


def delete_table(family: int, name: str, generation: int) -> bytes:
    """Give a batch that deletes a table, and does nothing after another change than the given.

    Older kernels than those we run on do not compare (NFNL_BATCH_GENID).
    """
    begin = attribute(NFNL_BATCH_GENID, NUMBER.pack(generation))
    table = attribute(NFTA_TABLE_NAME, name.encode() + b"\0")
    delete = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE
    return (
        message(NFNL_MSG_BATCH_BEGIN, 0, 0, begin, NFNL_SUBSYS_NFTABLES)
        + message(delete, NLM_F_ACK, family, table)
        + message(NFNL_MSG_BATCH_END, 0, 0, b"", NFNL_SUBSYS_NFTABLES)
    )
