"""`-m limit`: a token bucket for the rule (libxt_limit.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._rate import format_rate, parse_rate
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U32, number

_SCALE = 10_000  # XT_LIMIT_SCALE
_DEFAULT_PERIOD = _SCALE * 3600 // 3  # 3/hour
_DEFAULT_BURST = 5
_CREDITS = 32_000  # HZ * CREDITS_PER_JIFFY of xt_limit.c, the same for HZ 250 and 1000


@match("limit")
@dataclass(frozen=True, slots=True)
class Limit(UnenforcedMatch):
    """`period` between two packets is in 0.1 ms."""

    period: int = _DEFAULT_PERIOD
    burst: int = _DEFAULT_BURST

    OPTIONS = (
        Option("--limit", "rate", "how often: n[/second|minute|hour|day]"),
        Option("--limit-burst", "n", "how many may come at once"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        limit, burst = given.get("--limit"), given.get("--limit-burst")
        made = cls(
            parse_rate(limit, "limit", _SCALE)[0] if limit else _DEFAULT_PERIOD,
            number(burst, "limit", 1, 10_000) if burst else _DEFAULT_BURST,
        )
        if _credits(made.period * made.burst & U32) < _credits(made.period):
            fail("limit: the kernel cannot count to this burst at this rate", given, "try less")
        return made

    def format(self, family: Family) -> list[str]:
        words = ["--limit", format_rate(self.period, _SCALE)[0]]
        if self.burst != _DEFAULT_BURST:
            words += ["--limit-burst", str(self.burst)]
        return words

    def describe(self, family: Family) -> str:
        return f"limit: avg {format_rate(self.period, _SCALE)[0]} burst {self.burst}"


# user2credits of xt_limit.c, which wraps: limit_mt_check takes what did not come out smaller.
def _credits(user: int) -> int:
    if user > U32 // _CREDITS:
        return user // _SCALE * _CREDITS & U32
    return user * _CREDITS // _SCALE
