"""`-m quota`: true until so many bytes have passed (libxt_quota.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U64, inverted, number


@match("quota")
@dataclass(frozen=True, slots=True)
class Quota(UnenforcedMatch):
    size_bytes: int
    inverted: bool = False

    OPTIONS = (Option("--quota", "bytes", "how much may pass", invertible=True, required=True),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(number(use, "quota", 0, U64), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--quota", str(self.size_bytes)], self.inverted)

    # The listing does not show that it is inverted.
    def describe(self, family: Family) -> str:
        return f"quota: {self.size_bytes} bytes"
