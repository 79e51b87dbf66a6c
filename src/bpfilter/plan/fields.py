"""Every packet field a rule may ask for: its width, and where it packs.

A program reads the fields its ruleset uses, once, into an array of 32-bit words
on its stack, and rules are tests on these words. Small fields share a word
(`word` and `shift`), so that even a ruleset using all of them fits the 512
bytes of stack that eBPF has. Fields wider than 32 bits own whole words.

Guard fields are 2 bits wide: 0 readable, 1 "this rule does not match", 2 "drop
the packet now" (x_tables' hotdrop). The meaning of each field is written beside
it, with the kernel function whose behaviour it keeps; `compiler/extract/` has
the instructions that fill it.
"""

from __future__ import annotations

from bpfilter.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """`bits` per word; `words` > 1 for addresses and names; `pack` names the word shared."""

    name: str
    bits: int = 32
    words: int = 1
    pack: str = ""
    shift: int = 0

    def __str__(self) -> str:
        return self.name


FIELDS: dict[str, Field] = {}

#: What a guard says, unless it is 0.
GUARD_FAIL = 1
GUARD_DROP = 2


def _field(name: str, bits: int = 32, words: int = 1, pack: str = "", shift: int = 0) -> Field:
    made = Field(name, bits, words, pack or name, shift)
    assert name not in FIELDS
    FIELDS[name] = made
    return made


# Addresses: one word for IPv4 (word 0), four for IPv6.
SADDR = _field("saddr", words=4)
DADDR = _field("daddr", words=4)

# Interface names, 16 bytes padded with NULs, as big-endian words; all zero without a device
# (ip_packet_match compares against an empty name then).
IIF = _field("iif", words=4)
OIF = _field("oif", words=4)

# A guard set while rules are evaluated: 2 once a late guard has said that the packet is to be
# dropped when the rule is done.
DOOMED = _field("doomed", words=1)

# Network header. proto is ip->protocol, or what ipv6_find_hdr(-1) ends on.
PROTO = _field("proto", 8, pack="l3", shift=0)
TTL = _field("ttl", 8, pack="l3", shift=8)  # ttl or hop limit
TOS = _field("tos", 8, pack="l3", shift=16)  # tos or traffic class
FRAGMENT = _field("fragment", 1, pack="l3", shift=24)  # IPv4: fragment offset is not 0
# xt_length: IPv4 skb_ip_totlen (tot_len, or the buffer's length if that is 0); IPv6 skb->len.
LENGTH = _field("length")
# IPv6 only: ip6_packet_match's walk to the upper-layer header; asked by any `-p`.
PROTO_GUARD = _field("proto_guard", 2, pack="guards", shift=0)

# Transport, at par->thoff. Each guard asks for as many bytes as its match reads: 1 in a later
# fragment (par->fragoff is not 0), 2 if the packet ends before them. Only asked with the
# protocol known; a guard of other protocols is never 2. Fields of a header are 0 where its guard
# is not.
PORTS_GUARD = _field("ports_guard", 2, pack="guards", shift=2)  # xt_multiport: 4 bytes
TCP_GUARD = _field("tcp_guard", 2, pack="guards", shift=4)  # tcp_mt: 20 bytes, offset 1 drops
UDP_GUARD = _field("udp_guard", 2, pack="guards", shift=6)  # udp_mt: 8 bytes
ICMP_GUARD = _field("icmp_guard", 2, pack="guards", shift=8)  # icmp_match, icmp6_match: 8 bytes
SCTP_GUARD = _field("sctp_guard", 2, pack="guards", shift=10)  # sctp_mt: 12 bytes
DCCP_GUARD = _field("dccp_guard", 2, pack="guards", shift=12)  # dccp_mt: 12 bytes
ESP_GUARD = _field("esp_guard", 2, pack="guards", shift=14)  # esp_mt: 8 bytes
# ah_mt: 12 bytes. ah_mt6, whatever the protocol: 1 if ipv6_find_hdr(NEXTHDR_AUTH) is -ENOENT,
# 2 on its other errors, or if 12 bytes or AH_LENGTH bytes from there are not in the packet.
AH_GUARD = _field("ah_guard", 2, pack="guards", shift=16)
TCPOPT_GUARD = _field("tcpopt_guard", 2, pack="guards", shift=18)  # tcp_find_option
# dccp_find_option: 2 if doff * 4 is less than the header of this type, or reaches past the packet.
DCCPOPT_GUARD = _field("dccpopt_guard", 2, pack="guards", shift=20)
# match_packet of xt_sctp: 2 if the walk over all chunks met one that is cut off (4 bytes) or has
# length 0. The chunks before that one are in the fields below all the same.
SCTPCHUNK_GUARD = _field("sctpchunk_guard", 2, pack="guards", shift=22)
FRAG_GUARD = _field("frag_guard", 2, pack="guards", shift=24)  # frag_mt6
RT_GUARD = _field("rt_guard", 2, pack="guards", shift=26)  # rt_mt6
HBH_GUARD = _field("hbh_guard", 2, pack="guards", shift=28)  # hbh_mt6, protocol 0
DST_GUARD = _field("dst_guard", 2, pack="guards", shift=30)  # hbh_mt6, protocol 60

SPORT = _field("sport", 16, pack="ports", shift=16)
DPORT = _field("dport", 16, pack="ports", shift=0)
# Byte 13 of the header. With -p tcp, xt_ecn reads it in later fragments too, so it is filled
# whenever ECN_TCP is 1.
TCP_FLAGS = _field("tcp_flags", 8, pack="l4", shift=0)
ICMP_TYPE = _field("icmp_type", 8, pack="l4", shift=8)
ICMP_CODE = _field("icmp_code", 8, pack="l4", shift=16)
DCCP_TYPE = _field("dccp_type", 4, pack="l4", shift=24)  # bits 1-4 of byte 8
# match_tcp of xt_ecn: 20 bytes at par->thoff are in the packet, whatever par->fragoff. In a later
# IPv6 fragment par->thoff is 0, and the bytes are those of the IPv6 header.
ECN_TCP = _field("ecn_tcp", 1, pack="l4", shift=28)
# Kinds seen, 256 bits: kind k is bit (31 - k % 32) of word k // 32.
TCP_OPTIONS = _field("tcp_options", words=8)
# Every byte dccp_find_option compares, padding (0) and one-byte kinds included; none if its guard
# is not 0.
DCCP_OPTIONS = _field("dccp_options", words=8)
SCTP_CHUNKS = _field("sctp_chunks", words=8)  # chunk types seen, same numbering
# Bit f set: a chunk with those flags was seen: DATA (type 0) with (flags & 0xf) == f, ABORT (6)
# and SHUTDOWN COMPLETE (14) with (flags & 1) == f.
SCTP_DATA_FLAGS = _field("sctp_data_flags", 16, pack="sctp_flags", shift=0)
SCTP_ABORT_FLAGS = _field("sctp_abort_flags", 2, pack="sctp_flags", shift=16)
SCTP_SHUTDOWN_FLAGS = _field("sctp_shutdown_flags", 2, pack="sctp_flags", shift=18)
ESP_SPI = _field("esp_spi")
AH_SPI = _field("ah_spi")
AH_LENGTH = _field("ah_length", 16, pack="ah", shift=0)  # IPv6: (hdrlen + 2) * 4
AH_RESERVED = _field("ah_reserved", 16, pack="ah", shift=16)  # IPv6

# IPv6 extension headers; each guarded by its own guard: 1 if ipv6_find_hdr says -ENOENT, 2 if it
# says anything else, or if the header is cut short (rt, hbh, dst: by its own length field too).
FRAG_ID = _field("frag_id")
FRAG_RESERVED = _field("frag_reserved", 1, pack="ext6", shift=0)  # any reserved bit set
FRAG_FIRST = _field("frag_first", 1, pack="ext6", shift=1)  # offset is 0
FRAG_MORE = _field("frag_more", 1, pack="ext6", shift=2)
IPV6_HEADERS = _field("ipv6_headers", 8, pack="ext6", shift=8)  # MASK_* of ip6t_ipv6header.h
IPV6_HEADERS_OK = _field("ipv6_headers_ok", 1, pack="ext6", shift=3)  # the walk did not fail
EUI64 = _field("eui64", 1, pack="ext6", shift=4)  # source address is made of the source MAC
# eui64_mt6: 1 if the device is not Ethernet, 2 if it is and there is no whole Ethernet header.
EUI64_GUARD = _field("eui64_guard", 2, pack="ext6", shift=5)
RT_RESERVED = _field("rt_reserved", 1, pack="ext6", shift=7)  # bytes 4-7 of it are not all 0
RT_TYPE = _field("rt_type", 8, pack="rt", shift=0)
RT_SEGSLEFT = _field("rt_segsleft", 8, pack="rt", shift=8)
RT_LENGTH = _field("rt_length", 16, pack="rt", shift=16)  # ipv6_optlen: bytes, all of it
# Four words for each 16 bytes behind the first 8, as far as the packet goes.
RT_ADDRS = _field("rt_addrs", words=64)
HBH_LENGTH = _field("hbh_length", 16, pack="opts6", shift=0)  # ipv6_optlen
DST_LENGTH = _field("dst_length", 16, pack="opts6", shift=16)  # ipv6_optlen
# The first options, two bytes each: type and length (0 for Pad1, which has none), from word 1 on;
# word 0 is how many there are in the header, at most what the words asked for hold.
HBH_OPTS = _field("hbh_opts", words=9)
DST_OPTS = _field("dst_opts", words=9)

# What the kernel keeps beside the packet.
MARK = _field("mark")  # skb->mark
CPU = _field("cpu")  # smp_processor_id()
PKTTYPE = _field("pkttype", 3, pack="meta", shift=0)  # pkttype_mt's value, loopback resolved
MAC_OK = _field("mac_ok", 1, pack="meta", shift=3)  # mac_mt's three checks
# addrtype: IPv4 `1 << inet_dev_addr_type()`. IPv6, several bits: MULTICAST, UNICAST (each if
# ipv6_addr_type() has it), UNSPEC (if it is IPV6_ADDR_ANY alone), and LOCAL, ANYCAST, UNREACHABLE
# as match_lookup_rt6() gives them when asked for all three.
SRC_TYPE = _field("src_type", 12, pack="srctype")  # of the source, 1 << RTN_*
DST_TYPE = _field("dst_type", 12, pack="srctype", shift=16)
SRC_TYPE_IN = _field("src_type_in", 12, pack="iftype_in")  # --limit-iface-in: dev is the input
DST_TYPE_IN = _field("dst_type_in", 12, pack="iftype_in", shift=16)
SRC_TYPE_OUT = _field("src_type_out", 12, pack="iftype_out")  # with --limit-iface-out
DST_TYPE_OUT = _field("dst_type_out", 12, pack="iftype_out", shift=16)
MAC = _field("mac", words=2)  # source: bytes 0-3, then bytes 4-5 in the upper half of word 1
OWNER_UID = _field("owner_uid")  # f_cred->fsuid of the socket's file
OWNER_GID = _field("owner_gid")
# f_cred->group_info: a list, asked by `Contains` alone; compiler/search.py has its words.
OWNER_GROUPS = _field("owner_groups", words=5)
# owner_mt: skb_to_full_sk() has an sk_socket and belongs to this netns; and sk_socket has a file.
OWNER_SOCKET = _field("owner_socket", 1, pack="meta", shift=4)
OWNER_FILE = _field("owner_file", 1, pack="meta", shift=5)
PHYS_BRIDGED = _field("phys_bridged", 1, pack="meta", shift=6)  # skb has nf_bridge_info
PHYS_IN_SET = _field("phys_in_set", 1, pack="meta", shift=7)  # it has an input port
PHYS_OUT_SET = _field("phys_out_set", 1, pack="meta", shift=8)  # it has an output port
PHYS_IN = _field("phys_in", words=4)  # names, as IIF
PHYS_OUT = _field("phys_out", words=4)

# Connection tracking (nf_ct_get on the packet).
CT_STATE = _field("ct_state", 9, pack="ct")  # XT_CONNTRACK_STATE_* bits
CT_PRESENT = _field("ct_present", 1, pack="ct", shift=9)  # nf_ct_get() != NULL
CT_REPLY = _field("ct_reply", 1, pack="ct", shift=10)  # CTINFO2DIR == IP_CT_DIR_REPLY
CT_PROTO = _field("ct_proto", 8, pack="ct", shift=16)  # nf_ct_protonum, original direction
CT_MARK = _field("ct_mark")
CT_STATUS = _field("ct_status")
CT_EXPIRE = _field("ct_expire")  # seconds, nf_ct_expires / HZ
CT_ORIGSRC = _field("ct_origsrc", words=4)
CT_ORIGDST = _field("ct_origdst", words=4)
CT_REPLSRC = _field("ct_replsrc", words=4)
CT_REPLDST = _field("ct_repldst", words=4)
CT_ORIGSRCPORT = _field("ct_origsrcport", 16, pack="ct_orig_ports", shift=16)
CT_ORIGDSTPORT = _field("ct_origdstport", 16, pack="ct_orig_ports", shift=0)
CT_REPLSRCPORT = _field("ct_replsrcport", 16, pack="ct_repl_ports", shift=16)
CT_REPLDSTPORT = _field("ct_repldstport", 16, pack="ct_repl_ports", shift=0)
