"""`-m mark`: the packet's mark (net/netfilter/xt_mark.c, mark_mt)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.plan.fields import MARK
from bpfilter.plan.nodes import Predicate, inverted_if, masked_equals
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U32, inverted, mark_mask


@match("mark")
@dataclass(frozen=True, slots=True)
class Mark(Match):
    value: int
    mask: int = U32
    inverted: bool = False

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--mark", "value[/mask]", "the mark of the packet", invertible=True, required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(*mark_mask(use, cls.NAME), use.inverted)

    def __str__(self) -> str:
        mask = "" if self.mask == U32 else f"/0x{self.mask:x}"
        return f"0x{self.value:x}{mask}"

    def format(self, family: Family) -> list[str]:
        return inverted(["--mark", str(self)], self.inverted)

    def describe(self, family: Family) -> str:
        return f"mark match {'! ' if self.inverted else ''}{self}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return inverted_if(self.inverted, masked_equals(MARK, self.value, self.mask))
