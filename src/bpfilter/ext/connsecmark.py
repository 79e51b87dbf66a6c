"""`-j CONNSECMARK`: copy the security mark between packet and connection (libxt_CONNSECMARK.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import need_table, only_one


@target("CONNSECMARK")
@dataclass(frozen=True, slots=True)
class Connsecmark(Target):
    """`mode` is save or restore."""

    mode: str

    OPTIONS = (
        Option("--save", "", "from the packet to a connection without a mark", values=0),
        Option("--restore", "", "from the connection to a packet without a mark", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "CONNSECMARK", "mangle", "security")
        only_one(given, "CONNSECMARK", "--save", "--restore")
        if not given.uses:
            fail("CONNSECMARK target: parameter required", given, "--save or --restore")
        return cls(given.uses[0].option.name[2:])

    def format(self, family: Family) -> list[str]:
        return [f"--{self.mode}"]

    def describe(self, family: Family) -> str:
        return f"CONNSECMARK {self.mode}"
