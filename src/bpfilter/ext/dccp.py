"""`-m dccp`: ports, packet types, and one option (net/netfilter/xt_dccp.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.ext.ranges import PORT_OPTIONS, Range, any_port_range, shown_ports
from bpfilter.plan.fields import (
    DCCP_GUARD,
    DCCP_OPTIONS,
    DCCP_TYPE,
    DCCPOPT_GUARD,
    DPORT,
    SPORT,
)
from bpfilter.plan.nodes import (
    TRUE,
    All,
    Any,
    Guard,
    Not,
    Predicate,
    all_of,
    any_bit,
    inverted_if,
    within,
)
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import U8, inverted, need_protocol, number

_PROTOCOL = 33

#: Packet types by number; INVALID stands for all from 10 to 15 (RFC 4340 section 5.1).
TYPES = (
    "REQUEST",
    "RESPONSE",
    "DATA",
    "ACK",
    "DATAACK",
    "CLOSEREQ",
    "CLOSE",
    "RESET",
    "SYNC",
    "SYNCACK",
    "INVALID",
)
_INVALID = TYPES.index("INVALID")


@dataclass(frozen=True, slots=True)
class PacketTypes:
    """A set of type numbers, never empty; INVALID brings 10 to 15."""

    numbers: frozenset[int]
    inverted: bool = False

    def __str__(self) -> str:
        return ",".join(TYPES[kind] for kind in sorted(self.numbers) if kind <= _INVALID)

    def describe(self, *, numeric: bool) -> str:
        text = ",".join(map(str, sorted(self.numbers))) if numeric else str(self)
        return f"{'! ' if self.inverted else ''}{text}"

    def predicate(self) -> Predicate:
        runs: list[tuple[int, int]] = []
        for kind in sorted(self.numbers):
            if runs and runs[-1][1] == kind - 1:
                runs[-1] = (runs[-1][0], kind)
            else:
                runs.append((kind, kind))
        return inverted_if(self.inverted, Any(tuple(within(DCCP_TYPE, *run) for run in runs)))


@dataclass(frozen=True, slots=True)
class DccpOption:
    number: int
    inverted: bool = False

    def predicate(self) -> Predicate:
        word, bit = divmod(self.number, 32)
        seen = any_bit(DCCP_OPTIONS, 1 << (31 - bit), word)
        # A header that cannot be searched has no options: inverted it matches, then drops.
        if self.inverted:
            return All((Guard(DCCPOPT_GUARD, late=True), Not(seen)))
        return All((Guard(DCCPOPT_GUARD), seen))


@match("dccp")
@dataclass(frozen=True, slots=True)
class Dccp(Match):
    source: Range | None = None
    destination: Range | None = None
    types: PacketTypes | None = None
    option: DccpOption | None = None

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        *PORT_OPTIONS,
        Option("--dccp-types", "type[,type]", "the type of the packet", invertible=True),
        Option("--dccp-option", "number", "an option that the header has", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "dccp", _PROTOCOL)
        source = given.get("--source-port")
        destination = given.get("--destination-port")
        types = given.get("--dccp-types")
        option = given.get("--dccp-option")
        return cls(
            any_port_range(source, "dccp") if source else None,
            any_port_range(destination, "dccp") if destination else None,
            _parse_types(types) if types else None,
            DccpOption(number(option, "dccp", 1, U8), option.inverted) if option else None,
        )

    def format(self, family: Family) -> list[str]:
        words = self.source.format("--sport") if self.source else []
        words += self.destination.format("--dport") if self.destination else []
        if self.types:
            words += inverted(["--dccp-types", str(self.types)], self.types.inverted)
        if self.option:
            words += inverted(["--dccp-option", str(self.option.number)], self.option.inverted)
        return words

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        text = shown_ports("dccp", self.source, self.destination, names)
        if self.types:
            text += f" {self.types.describe(numeric=names.numeric)}"
        if self.option:
            text += f" option={'!' if self.option.inverted else ''}{self.option.number}"
        return text

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(
            Guard(DCCP_GUARD),
            self.source.predicate(SPORT) if self.source else TRUE,
            self.destination.predicate(DPORT) if self.destination else TRUE,
            self.types.predicate() if self.types else TRUE,
            self.option.predicate() if self.option else TRUE,
        )


# iptables also takes an empty list, but saves it as a line that nothing can read.
def _parse_types(use: Use) -> PacketTypes:
    word = use.words[0]
    numbers: set[int] = set()
    for name in filter(None, word.text.split(",")):
        if name.upper() not in TYPES:
            raise RuleError(f"Unknown DCCP type `{name}'", word.span)
        numbers.add(TYPES.index(name.upper()))
    if not numbers:
        raise RuleError("dccp: no packet type named", word.span, f"some of {', '.join(TYPES)}")
    if _INVALID in numbers:
        numbers.update(range(_INVALID, 16))
    return PacketTypes(frozenset(numbers), use.inverted)
