"""`-m icmp6`: type and code (icmp6_match, net/ipv6/netfilter/ip6_tables.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext.icmp import IcmpType, parse_type
from bpfilter.plan.fields import ICMP_GUARD
from bpfilter.plan.nodes import Guard, Predicate, all_of
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import V6, Context, Given, Option, match
from bpfilter.rules.values import inverted, need_protocol

_PROTOCOL = 58

#: `type` or `type/code` by name, in iptables' order (extensions/libxt_icmp.h).
NAMES: dict[str, str] = {
    "destination-unreachable": "1",
    "no-route": "1/0",
    "communication-prohibited": "1/1",
    "beyond-scope": "1/2",
    "address-unreachable": "1/3",
    "port-unreachable": "1/4",
    "failed-policy": "1/5",
    "reject-route": "1/6",
    "packet-too-big": "2",
    "time-exceeded": "3",
    "ttl-exceeded": "3",
    "ttl-zero-during-transit": "3/0",
    "ttl-zero-during-reassembly": "3/1",
    "parameter-problem": "4",
    "bad-header": "4/0",
    "unknown-header-type": "4/1",
    "unknown-option": "4/2",
    "echo-request": "128",
    "ping": "128",
    "echo-reply": "129",
    "pong": "129",
    "router-solicitation": "133",
    "router-advertisement": "134",
    "neighbour-solicitation": "135",
    "neighbor-solicitation": "135",
    "neighbour-advertisement": "136",
    "neighbor-advertisement": "136",
    "redirect": "137",
}


@match("icmp6", families=V6)
@dataclass(frozen=True, slots=True)
class Icmp6(Match):
    """No type stands for every type here: 255 is 255."""

    type: IcmpType

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option(
            "--icmpv6-type",
            "type[/code]",
            "type and code, numbers or a name",
            invertible=True,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "icmp6", _PROTOCOL)
        return cls(parse_type(given.uses[0], NAMES, "ICMPv6"))

    def format(self, family: Family) -> list[str]:
        return inverted(["--icmpv6-type", str(self.type)], self.type.inverted)

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        return f"ipv6-icmp{self.type.describe(None if names.numeric else NAMES)}"

    def unsaved(self) -> str:
        return self.type.unsaved

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(Guard(ICMP_GUARD), self.type.predicate())
