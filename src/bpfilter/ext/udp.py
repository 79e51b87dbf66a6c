"""`-m udp`: ports (net/netfilter/xt_tcpudp.c, udp_mt)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext.ranges import ANY_PORT, PORT_OPTIONS, Range, any_port_range, shown_ports
from bpfilter.plan.fields import DPORT, SPORT, UDP_GUARD
from bpfilter.plan.nodes import Guard, Predicate, all_of
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U16, need_protocol


@match("udp")
@dataclass(frozen=True, slots=True)
class Udp(Match):
    """A range of all ports is no test, unless it is inverted."""

    source: Range = ANY_PORT
    destination: Range = ANY_PORT

    PROTOCOL: ClassVar[int] = 17
    OPTIONS: ClassVar[tuple[Option, ...]] = PORT_OPTIONS

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, cls.NAME, cls.PROTOCOL)
        source = given.get("--source-port")
        destination = given.get("--destination-port")
        return cls(
            any_port_range(source, cls.NAME) if source else ANY_PORT,
            any_port_range(destination, cls.NAME) if destination else ANY_PORT,
        )

    def format(self, family: Family) -> list[str]:
        words = self.source.format_tested("--sport", U16)
        return words + self.destination.format_tested("--dport", U16)

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        return shown_ports(self.NAME, self.source, self.destination, names)

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(
            Guard(UDP_GUARD), self.source.predicate(SPORT), self.destination.predicate(DPORT)
        )
