"""`-j CLASSIFY`: set the packet's traffic class (libxt_CLASSIFY.c)."""

from __future__ import annotations

import re
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import U16, need_chains

_CLASS = re.compile(r"\s*(?:0[xX])?([0-9a-fA-F]+):(?:0[xX])?([0-9a-fA-F]+)", re.ASCII)


@target("CLASSIFY")
@dataclass(frozen=True, slots=True)
class Classify(Target):
    """Major and minor number, 16 bits each."""

    major: int
    minor: int

    OPTIONS = (
        Option("--set-class", "major:minor", "the class of a queueing discipline", required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        found = _CLASS.match(use.value)
        if found is None:
            fail(f'CLASSIFY: bad class value "{use.value}"', use, "MAJOR:MINOR in hexadecimal")
        made = cls(*(int(part, 16) & U16 for part in found.groups()))
        need_chains(given, context, "CLASSIFY", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return "FORWARD", "OUTPUT", "POSTROUTING"

    def format(self, family: Family) -> list[str]:
        return ["--set-class", f"{self.major:04x}:{self.minor:04x}"]

    def describe(self, family: Family) -> str:
        return f"CLASSIFY set {self.major:x}:{self.minor:x}"
