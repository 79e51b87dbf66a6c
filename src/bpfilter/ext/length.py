"""`-m length`: length of the packet (net/netfilter/xt_length.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext.ranges import Range
from bpfilter.plan.fields import LENGTH
from bpfilter.plan.nodes import Predicate
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U16, number_range


@match("length")
@dataclass(frozen=True, slots=True)
class Length(Match):
    """Bytes from the network header on."""

    size: Range

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option(
            "--length", "n[:n]", "bytes from the network header on", invertible=True, required=True
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(Range(*number_range(use, "length", U16), use.inverted))

    def format(self, family: Family) -> list[str]:
        return self.size.format("--length")

    def describe(self, family: Family) -> str:
        return f"length {'!' if self.size.inverted else ''}{self.size}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return self.size.predicate(LENGTH)
