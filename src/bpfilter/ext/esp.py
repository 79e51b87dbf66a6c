"""`-m esp`: the SPI of an ESP packet (net/netfilter/xt_esp.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext.ranges import Range, shown
from bpfilter.plan.fields import ESP_GUARD, ESP_SPI
from bpfilter.plan.nodes import Guard, Predicate, all_of
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U32, need_protocol, number_range

_PROTOCOL = 50
_ANY_SPI = Range(0, U32)


@match("esp")
@dataclass(frozen=True, slots=True)
class Esp(Match):
    spi: Range = _ANY_SPI

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--espspi", "spi[:spi]", "security parameter index or range", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "esp", _PROTOCOL)
        use = given.get("--espspi")
        return cls(Range(*number_range(use, "esp", U32), use.inverted)) if use else cls()

    def format(self, family: Family) -> list[str]:
        return self.spi.format_tested("--espspi", U32)

    def describe(self, family: Family) -> str:
        return shown("esp", ("spi", self.spi), high=U32)

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(Guard(ESP_GUARD), self.spi.predicate(ESP_SPI))
