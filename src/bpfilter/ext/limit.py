"""`-m limit`: a token bucket for the rule (libxt_limit.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from bpfilter.ext._rate import format_rate, parse_rate
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import number

_SCALE = 10_000  # XT_LIMIT_SCALE
_DEFAULT_PERIOD = _SCALE * 3600 // 3  # 3/hour
_DEFAULT_BURST = 5


@match("limit")
@dataclass(frozen=True, slots=True)
class Limit(UnenforcedMatch):
    """`period` between two packets is in 0.1 ms."""

    period: int = _DEFAULT_PERIOD
    burst: int = _DEFAULT_BURST

    OPTIONS = (Option("--limit"), Option("--limit-burst"))

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        limit, burst = given.get("--limit"), given.get("--limit-burst")
        return cls(
            parse_rate(limit, "limit", _SCALE)[0] if limit else _DEFAULT_PERIOD,
            number(burst, "limit", 1, 10_000) if burst else _DEFAULT_BURST,
        )

    def format(self, family: Family) -> list[str]:
        words = ["--limit", format_rate(self.period, _SCALE)[0]]
        if self.burst != _DEFAULT_BURST:
            words += ["--limit-burst", str(self.burst)]
        return words

    def describe(self, family: Family) -> str:
        return f"limit: avg {format_rate(self.period, _SCALE)[0]} burst {self.burst}"
