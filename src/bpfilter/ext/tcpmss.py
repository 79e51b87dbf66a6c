"""`-m tcpmss` and `-j TCPMSS`: the maximum segment size in a TCP SYN.

(libxt_tcpmss.c, libxt_TCPMSS.c)
"""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.ext.tcp import FLAGS, Tcp
from bpfilter.rules.model import Family, Match, Target
from bpfilter.rules.registry import Context, Given, Option, match, target
from bpfilter.rules.values import (
    U16,
    format_range,
    inverted,
    need_chains,
    need_protocol,
    number,
    number_range,
)

_TCP = 6
_HEADER_BYTES = {Family.IPV4: 20, Family.IPV6: 40}


@match("tcpmss")
@dataclass(frozen=True, slots=True)
class MatchTcpmss(UnenforcedMatch):
    low: int
    high: int
    inverted: bool = False

    OPTIONS = (
        Option("--mss", "n[:n]", "maximum segment size or range", invertible=True, required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "tcpmss", _TCP)
        use = given.uses[0]
        low, high = number_range(use, "tcpmss", U16)
        return cls(low, high, use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--mss", format_range(self.low, self.high)], self.inverted)

    def describe(self, family: Family) -> str:
        return f"tcpmss match {'!' if self.inverted else ''}{format_range(self.low, self.high)}"


@target("TCPMSS")
@dataclass(frozen=True, slots=True)
class Tcpmss(Target):
    """`size` None is --clamp-mss-to-pmtu."""

    size: int | None = None

    OPTIONS = (
        Option("--set-mss", "n", "set the maximum segment size"),
        Option("--clamp-mss-to-pmtu", "", "set it to what fits the path", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "TCPMSS", _TCP)
        if not given.uses:
            fail("TCPMSS: at least one parameter is required", given)
        if not any(map(_asks_for_syn, context.matches)):
            fail("TCPMSS: only works on TCP SYN packets", given, "-m tcp --syn")
        size = given.get("--set-mss")
        chosen = number(size, "TCPMSS", 0, U16 - _HEADER_BYTES[context.family]) if size else None
        # Of the two, the last one holds.
        made = cls(chosen if given.uses[-1] is size else None)
        if made.chains():
            need_chains(given, context, "TCPMSS --clamp-mss-to-pmtu", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("FORWARD", "OUTPUT", "POSTROUTING") if self.size is None else ()

    def format(self, family: Family) -> list[str]:
        return ["--clamp-mss-to-pmtu"] if self.size is None else ["--set-mss", str(self.size)]

    def describe(self, family: Family) -> str:
        return "TCPMSS clamp to PMTU" if self.size is None else f"TCPMSS set {self.size}"


# find_syn_match of xt_TCPMSS.c
def _asks_for_syn(match: Match) -> bool:
    return isinstance(match, Tcp) and bool(match.flags[1] & FLAGS["SYN"]) and not match.not_flags
