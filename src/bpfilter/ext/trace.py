"""`-j TRACE`: log every rule that the packet matches from here on (libxt_TRACE.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import need_table


@target("TRACE")
@dataclass(frozen=True, slots=True)
class Trace(Target):
    OPTIONS: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "TRACE", "raw")
        return cls()

    def format(self, family: Family) -> list[str]:
        return []

    def describe(self, family: Family) -> str:
        return ""
