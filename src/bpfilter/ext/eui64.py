"""`-m eui64`: the IPv6 source address is made of the source MAC address."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.nodes import All, Guard, Predicate, equals
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import V6, Context, Given, Option, match
from bpfilter.rules.values import need_chains


@match("eui64", families=V6)
@dataclass(frozen=True, slots=True)
class Eui64(Match):
    OPTIONS: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        made = cls()
        need_chains(given, context, "eui64", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("PREROUTING", "INPUT", "FORWARD")

    def format(self, family: Family) -> list[str]:
        return []

    def describe(self, family: Family) -> str:
        return ""

    # eui64_mt6 (net/ipv6/netfilter/ip6t_eui64.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return All((Guard(fields.EUI64_GUARD), equals(fields.EUI64, 1)))
