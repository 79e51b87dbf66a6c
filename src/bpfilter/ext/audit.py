"""`-j AUDIT`: make an audit record of the packet (libxt_AUDIT.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import choose


@target("AUDIT")
@dataclass(frozen=True, slots=True)
class Audit(Target):
    """What the record says: accept, drop or reject."""

    type: str

    OPTIONS = (
        Option(
            "--type", "accept|drop|reject", "what the record says of the packet", required=True
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        return cls(choose(given.uses[0], ("accept", "drop", "reject"), "AUDIT: type"))

    def format(self, family: Family) -> list[str]:
        return ["--type", self.type]

    def describe(self, family: Family) -> str:
        return f"AUDIT {self.type}"
