"""`-j CHECKSUM`: compute a checksum that was left to the device (libxt_CHECKSUM.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import need_table


@target("CHECKSUM")
@dataclass(frozen=True, slots=True)
class Checksum(Target):
    OPTIONS = (
        Option(
            "--checksum-fill",
            "",
            "fill in a checksum that is left to hardware",
            values=0,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "CHECKSUM", "mangle")
        return cls()

    def format(self, family: Family) -> list[str]:
        return ["--checksum-fill"]

    def describe(self, family: Family) -> str:
        return "CHECKSUM fill"
