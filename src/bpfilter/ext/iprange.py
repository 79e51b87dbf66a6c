"""`-m iprange`: source and destination between two addresses (net/netfilter/xt_iprange.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import DADDR, SADDR, Field
from bpfilter.plan.nodes import (
    FALSE,
    TRUE,
    Predicate,
    Test,
    all_of,
    at_least,
    at_most,
    inverted_if,
)
from bpfilter.rules.address import format_host, parse_host
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Both ends inclusive, network byte order; reversed ends hold nothing."""

    low: bytes
    high: bytes
    inverted: bool = False

    def __str__(self) -> str:
        return f"{format_host(self.low)}-{format_host(self.high)}"

    def predicate(self, field: Field) -> Predicate:
        return inverted_if(self.inverted, self._inside(field))

    def _inside(self, field: Field) -> Predicate:
        if self.low > self.high:
            return FALSE
        if len(self.low) == 4:
            return Test(field, int.from_bytes(self.low, "big"), int.from_bytes(self.high, "big"))
        return all_of(at_least(field, self.low), at_most(field, self.high))


@match("iprange")
@dataclass(frozen=True, slots=True)
class IpRange(Match):
    source: AddressRange | None = None
    destination: AddressRange | None = None

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--src-range", "from[-to]", "source address in this range", invertible=True),
        Option("--dst-range", "from[-to]", "destination address in this range", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        source, destination = given.get("--src-range"), given.get("--dst-range")
        if source is None and destination is None:
            raise RuleError(
                "iprange match: You must specify `--src-range' or `--dst-range'", given.span
            )
        return cls(
            _parse_range(source, context.family) if source else None,
            _parse_range(destination, context.family) if destination else None,
        )

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        for option, asked in (("--src-range", self.source), ("--dst-range", self.destination)):
            if asked is not None:
                words += inverted([option, str(asked)], asked.inverted)
        return words

    def describe(self, family: Family) -> str:
        return " ".join(
            f"{name} IP range {'! ' if asked.inverted else ''}{asked}"
            for name, asked in (("source", self.source), ("destination", self.destination))
            if asked is not None
        )

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(
            self.source.predicate(SADDR) if self.source else TRUE,
            self.destination.predicate(DADDR) if self.destination else TRUE,
        )


# `low[-high]`; one address is a range of itself.
def _parse_range(use: Use, family: Family) -> AddressRange:
    word = use.words[0]
    low_text, dash, high_text = word.text.partition("-")
    ends = []
    for text in (low_text, high_text if dash else low_text):
        address = parse_host(text, family) if text != "localhost" else None
        if address is None:
            raise RuleError(
                f'iprange: Bad value for "{use.option.name}" option: "{text}"', word.span
            )
        ends.append(address)
    return AddressRange(ends[0], ends[1], use.inverted)
