"""`-m cpu`: the processor that handles the packet."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.nodes import Predicate, equals, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted, number


@match("cpu")
@dataclass(frozen=True, slots=True)
class Cpu(Match):
    number: int
    inverted: bool = False

    OPTIONS = (
        Option(
            "--cpu", "number", "the CPU that handles the packet", invertible=True, required=True
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(number(use, "cpu"), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--cpu", str(self.number)], self.inverted)

    def describe(self, family: Family) -> str:
        return " ".join(["cpu", *inverted([str(self.number)], self.inverted)])

    # cpu_mt (net/netfilter/xt_cpu.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return inverted_if(self.inverted, equals(fields.CPU, self.number))
