"""`-m multiport`: up to 15 ports and ranges (net/netfilter/xt_multiport.c, revision 1)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.ext.ranges import Range
from bpfilter.plan.fields import DPORT, PORTS_GUARD, SPORT, Field
from bpfilter.plan.nodes import Any, Guard, Predicate, all_of, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, only_one, port

#: Protocols with ports at the start of their header, by the name their services go by.
_PROTOCOLS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}

_MAX_PORTS = 15  # XT_MULTI_PORTS; a range takes two

_FIELDS: dict[str, tuple[Field, ...]] = {
    "sports": (SPORT,),
    "dports": (DPORT,),
    "ports": (SPORT, DPORT),
}


@match("multiport")
@dataclass(frozen=True, slots=True)
class Multiport(Match):
    """`which` is sports, dports, or ports for either."""

    which: str
    ports: tuple[Range, ...]
    inverted: bool = False

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option(
            "--source-ports",
            "port[,port:port]",
            "source port is one of up to 15",
            invertible=True,
            aliases=("--sports",),
        ),
        Option(
            "--destination-ports",
            "port[,port:port]",
            "destination port is one of up to 15",
            invertible=True,
            aliases=("--dports",),
        ),
        Option("--ports", "port[,port:port]", "either port is one of up to 15", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            raise RuleError(
                "no ports specified", given.span, "multiport takes --sports, --dports or --ports"
            )
        only_one(given, "multiport", *(option.name for option in cls.OPTIONS))
        protocol = context.protocol
        if protocol is None or protocol.inverted or protocol.number not in _PROTOCOLS:
            raise RuleError(
                "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'",
                given.span,
                "name one with -p",
            )
        use = given.uses[0]
        which = {"--source-ports": "sports", "--destination-ports": "dports"}
        return cls(
            which.get(use.option.name, "ports"),
            _parse_ports(use, _PROTOCOLS[protocol.number]),
            use.inverted,
        )

    def format(self, family: Family) -> list[str]:
        ports = ",".join(map(str, self.ports))
        return inverted([f"--{self.which}", ports], self.inverted)

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        protocol = _PROTOCOLS.get(rule.protocol.number, "") if rule.protocol else ""
        ports = ",".join(names.ports(part.low, part.high, protocol) for part in self.ports)
        return f"multiport {self.which} {' !' if self.inverted else ''}{ports}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        tests = tuple(
            part.predicate(field) for part in self.ports for field in _FIELDS[self.which]
        )
        return all_of(Guard(PORTS_GUARD), inverted_if(self.inverted, Any(tests)))


# A range must rise, and both its ends be given.
def _parse_ports(use: Use, protocol: str) -> tuple[Range, ...]:
    word = use.words[0]
    ranges: list[Range] = []
    count = 0
    for part in word.text.split(","):
        low_text, colon, high_text = part.partition(":")
        count += 2 if colon else 1
        if count > _MAX_PORTS:
            raise RuleError(
                "too many ports specified", word.span, "15 at most, and a range counts for two"
            )
        low = port(low_text, word, protocol)
        high = port(high_text, word, protocol) if colon else low
        if colon and low >= high:
            raise RuleError("invalid portrange specified", word.span)
        ranges.append(Range(low, high))
    return tuple(ranges)
