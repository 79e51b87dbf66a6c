"""Where the fields of packet headers lie: byte offsets in network order."""

from __future__ import annotations


class IPV4:
    """struct iphdr (include/uapi/linux/ip.h), RFC 791."""

    BYTES = 20
    IHL = 0  # low four bits: header length in 32-bit words
    IHL_MASK = 0x0F
    TOS = 1
    TOT_LEN = 2
    FRAG_OFF = 6
    OFFSET_MASK = 0x1FFF  # in units of 8 bytes
    TTL = 8
    PROTOCOL = 9
    SADDR = 12
    DADDR = 16


class IPV6:
    """struct ipv6hdr (include/uapi/linux/ipv6.h), RFC 8200."""

    BYTES = 40
    PAYLOAD_LEN = 4
    NEXTHDR = 6
    HOP_LIMIT = 7
    SADDR = 8
    DADDR = 24


class EXTHDR:
    """IPv6 extension headers (include/uapi/linux/in6.h, include/net/ipv6.h)."""

    HOP = 0
    ROUTING = 43
    FRAGMENT = 44
    AUTH = 51
    NONE = 59
    DEST = 60
    #: Of every header: type of the next one, and length in 8-byte units without the first
    #: (AUTH: in 4-byte units without the first two; FRAGMENT: always 8 bytes).
    NEXTHDR = 0
    LENGTH = 1
    #: HOP and DEST: where the first option is.
    OPTIONS = 2


class ROUTING:
    """struct ipv6_rt_hdr (include/uapi/linux/ipv6.h); RESERVED and ADDRESSES: struct rt0_hdr."""

    TYPE = 2
    SEGSLEFT = 3
    RESERVED = 4
    ADDRESSES = 8
    ADDRESS_BYTES = 16


class FRAGMENT:
    """struct frag_hdr (include/net/ipv6.h)."""

    BYTES = 8
    RESERVED = 1
    OFFSET = 2
    OFFSET_MASK = 0xFFF8  # in bytes, as it stands
    OFFSET_RESERVED = 0x0006
    MORE = 0x0001
    ID = 4


class PORTS:
    """The first four bytes of TCP, UDP, UDP-Lite, SCTP and DCCP."""

    BYTES = 4
    SPORT = 0
    DPORT = 2


class TCP:
    """struct tcphdr (include/uapi/linux/tcp.h), RFC 9293."""

    BYTES = 20
    DOFF = 12  # high four bits: header length in 32-bit words
    FLAGS = 13


class UDP:
    BYTES = 8


class ICMP:
    """struct icmphdr and icmp6hdr."""

    BYTES = 8
    TYPE = 0
    CODE = 1


class SCTP:
    """struct sctphdr (include/linux/sctp.h), RFC 9260."""

    BYTES = 12


class SCTP_CHUNK:
    """struct sctp_chunkhdr (include/linux/sctp.h), RFC 9260."""

    BYTES = 4
    TYPE = 0
    FLAGS = 1
    LENGTH = 2
    DATA = 0
    ABORT = 6
    SHUTDOWN_COMPLETE = 14


class DCCP:
    """struct dccp_hdr (include/uapi/linux/dccp.h), RFC 4340."""

    BYTES = 12
    DOFF = 4
    TYPE = 8  # bits 1-4 of the byte


class ESP:
    """struct ip_esp_hdr: SPI first."""

    BYTES = 8
    SPI = 0


class AH:
    """struct ip_auth_hdr (include/uapi/linux/ip.h)."""

    BYTES = 12
    LENGTH = 1
    RESERVED = 2
    SPI = 4


class IPPROTO:
    """IPPROTO_* (include/uapi/linux/in.h, in6.h)."""

    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    ESP = 50
    AH = 51
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136
