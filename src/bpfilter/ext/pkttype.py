"""`-m pkttype`: how the link layer addressed the packet."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import keyword
from bpfilter.plan import fields
from bpfilter.plan.nodes import Predicate, equals, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted

# PACKET_* (include/uapi/linux/if_packet.h), and the short names iptables also reads.
_NAMES = {"unicast": 0, "broadcast": 1, "multicast": 2, "otherhost": 3}
_WORDS = _NAMES | {"bcast": 1, "mcast": 2, "host": 0}


@match("pkttype")
@dataclass(frozen=True, slots=True)
class Pkttype(Match):
    type: int
    inverted: bool = False

    OPTIONS = (
        Option(
            "--pkt-type",
            "type",
            "unicast, broadcast, multicast or otherhost",
            invertible=True,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(keyword(use, "pkttype", _WORDS), use.inverted)

    @property
    def name(self) -> str:
        return next(name for name, value in _NAMES.items() if value == self.type)

    def format(self, family: Family) -> list[str]:
        return inverted(["--pkt-type", self.name], self.inverted)

    def describe(self, family: Family) -> str:
        return f"PKTTYPE {'!' if self.inverted else ''}= {self.name}"

    # pkttype_mt (net/netfilter/xt_pkttype.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return inverted_if(self.inverted, equals(fields.PKTTYPE, self.type))
