"""`-m connbytes`: how much a connection has carried (libxt_connbytes.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U64, inverted, number_range

_DIRECTIONS = ("original", "reply", "both")
_MODES = ("packets", "bytes", "avgpkt")


@match("connbytes")
@dataclass(frozen=True, slots=True)
class Connbytes(UnenforcedMatch):
    """`low` and `high` are inclusive; `high` is 2^64 - 1 where there is no bound."""

    low: int
    high: int
    mode: str
    direction: str
    inverted: bool = False

    OPTIONS = (
        Option(
            "--connbytes",
            "n[:n]",
            "how much: a least number, or a range",
            invertible=True,
            required=True,
        ),
        Option(
            "--connbytes-dir", "original|reply|both", "packets of which direction", required=True
        ),
        Option(
            "--connbytes-mode",
            "packets|bytes|avgpkt",
            "what is counted: avgpkt is bytes by packets",
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use, direction, mode = (given.all(option.name)[0] for option in cls.OPTIONS)
        low, high = number_range(use, "connbytes", U64)
        if ":" not in use.value:
            high = U64
        for chosen, names in ((direction, _DIRECTIONS), (mode, _MODES)):
            if chosen.value not in names:
                known = ", ".join(names)
                fail(f"connbytes: unknown {chosen.option.name} `{chosen.value}'", chosen, known)
        # An inverted match is kept as its bounds swapped, which says nothing if they are equal.
        return cls(low, high, mode.value, direction.value, use.inverted and low != high)

    def format(self, family: Family) -> list[str]:
        words = inverted(["--connbytes", self._range()], self.inverted)
        return [*words, "--connbytes-mode", self.mode, "--connbytes-dir", self.direction]

    def describe(self, family: Family) -> str:
        words = inverted(["connbytes", self._range()], self.inverted)
        words += ["connbytes mode", self.mode, "connbytes direction", self.direction]
        return " ".join(words)

    def _range(self) -> str:
        return f"{self.low}:{self.high}" if 0 < self.high < U64 else str(self.low)
