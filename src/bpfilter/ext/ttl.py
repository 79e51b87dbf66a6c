"""`-m ttl`: time to live of an IPv4 packet (net/netfilter/xt_hl.c, ttl_mt)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import TTL
from bpfilter.plan.nodes import Not, Predicate, within
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import V4, Context, Given, Option, match
from bpfilter.rules.values import U8, inverted, number, only_one


@match("ttl", families=V4)
@dataclass(frozen=True, slots=True)
class Ttl(Match):
    """`comparison` is ==, !=, < or >."""

    comparison: str
    value: int

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--ttl-eq", "n", "the TTL is this", invertible=True, aliases=("--ttl",)),
        Option("--ttl-lt", "n", "it is less"),
        Option("--ttl-gt", "n", "it is greater"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        names = [option.name for option in cls.OPTIONS]
        if not given.uses:
            raise RuleError(
                f"{cls.NAME.upper()} match: You must specify one of {', '.join(names)}", given.span
            )
        only_one(given, cls.NAME, *names)
        use = given.uses[0]
        comparison = {"eq": "==", "lt": "<", "gt": ">"}[use.option.name[-2:]]
        value = number(use, cls.NAME, 0, U8)
        return cls("!=" if use.inverted else comparison, value)

    def format(self, family: Family) -> list[str]:
        ending = {"<": "lt", ">": "gt"}.get(self.comparison, "eq")
        return inverted([f"--{self.NAME}-{ending}", str(self.value)], self.comparison == "!=")

    def describe(self, family: Family) -> str:
        name = self.NAME.upper()
        return f"{name} match {name} {self.comparison} {self.value}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        match self.comparison:
            case "<":
                return within(TTL, 0, self.value - 1)
            case ">":
                return within(TTL, self.value + 1, U8)
            case "!=":
                return Not(within(TTL, self.value, self.value))
            case _:
                return within(TTL, self.value, self.value)
