"""Every match that is drawn: how often, and where it is legal."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.harness import header_matches as headers
from tests.harness import kernel_matches as kernel

INPUT, FORWARD, OUTPUT = "INPUT", "FORWARD", "OUTPUT"
ANYWHERE = frozenset((INPUT, FORWARD, OUTPUT))


@dataclass(frozen=True, slots=True)
class Kind:
    """One match to draw: how often, for which protocol and family, at which hooks it is legal."""

    name: str
    draw: Callable[[random.Random, int], str]
    weight: float = 1.0
    protocols: tuple[str, ...] = ()
    versions: tuple[int, ...] = (4, 6)
    hooks: frozenset[str] = ANYWHERE
    #: What a knob calls it, where that is not the match's own name.
    feature: str = ""

    @property
    def knob(self) -> str:
        return self.feature or self.name


INCOMING = frozenset((INPUT, FORWARD))
PORTED = ("tcp", "udp", "udplite", "sctp", "dccp")
KINDS = (
    Kind("tcp", headers.tcp, 12, ("tcp",)),
    Kind("udp", headers.udp, 10, ("udp",)),
    Kind("sctp", headers.sctp, 10, ("sctp",)),
    Kind("dccp", headers.dccp, 10, ("dccp",)),
    Kind("icmp", headers.icmp, 12, ("icmp",), (4,)),
    Kind("icmp6", headers.icmp6, 12, ("ipv6-icmp",), (6,)),
    Kind("esp", headers.esp, 10, ("esp",)),
    Kind("ah", headers.ah, 10, ("ah",), (4,)),
    Kind("ah", headers.ah, 1, (), (6,)),
    Kind("multiport", headers.multiport, 4, PORTED),
    Kind("ecn", headers.ecn_tcp, 2, ("tcp",)),
    Kind("iprange", headers.iprange),
    Kind("length", headers.length, 1.5),
    Kind("ttl", headers.ttl, 1, (), (4,)),
    Kind("hl", headers.hl, 1, (), (6,)),
    Kind("dscp", headers.dscp, 0.8),
    Kind("tos", headers.tos, 0.8),
    Kind("ecn", headers.ecn, 0.6),
    Kind("mark", kernel.mark, 1.2),
    Kind("connmark", kernel.mark, 0.4),
    Kind("conntrack", kernel.conntrack, 1.2),
    Kind("state", kernel.state, 0.6),
    Kind("mac", kernel.mac, 0.7, hooks=INCOMING),
    Kind("pkttype", kernel.pkttype, 0.8),
    Kind("addrtype", kernel.addrtype, 1.2),
    Kind("addrtype", kernel.addrtype_route, 0.6, (), (6,), feature="addrtype-route"),
    Kind("addrtype", kernel.addrtype_in, 0.4, hooks=INCOMING),
    Kind("addrtype", kernel.addrtype_out, 0.4, hooks=frozenset((FORWARD, OUTPUT))),
    Kind("owner", kernel.owner, 2, hooks=frozenset((OUTPUT,))),
    Kind("owner", kernel.owner_groups, 0.7, hooks=frozenset((OUTPUT,)), feature="suppl-groups"),
    Kind("physdev", kernel.physdev, 0.4),
    Kind("physdev", kernel.physdev_out, 0.3, hooks=INCOMING),
    Kind("cpu", kernel.cpu, 0.4),
    Kind("comment", kernel.comment, 0.8),
    Kind("frag", headers.frag, 1.2, (), (6,)),
    Kind("rt", headers.rt, 1, (), (6,)),
    Kind("rt", headers.rt_addresses, 0.4, (), (6,), feature="rt-0-addrs"),
    Kind("rt", headers.rt_not_strict, 0.3, (), (6,), feature="rt-0-not-strict"),
    Kind("hbh", headers.hbh, 0.7, (), (6,)),
    Kind("dst", headers.dst, 0.7, (), (6,)),
    Kind("hbh", headers.hbh_options, 0.3, (), (6,), feature="hbh-opts"),
    Kind("dst", headers.dst_options, 0.3, (), (6,), feature="dst-opts"),
    Kind("ipv6header", headers.ipv6header, 1, (), (6,)),
    Kind("eui64", headers.eui64, 0.6, (), (6,), INCOMING),
)
