"""`-m statistic`: a share of the packets, by chance or by count (libxt_statistic.c)."""

from __future__ import annotations

import math
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, number, only_one

_ONE = 0x8000_0000


@match("statistic")
@dataclass(frozen=True, slots=True)
class Statistic(UnenforcedMatch):
    """By chance: `probability` in 1/2^31. By count: packet number `packet` of each `every`."""

    probability: int | None = None
    every: int = 0
    packet: int = 0
    inverted: bool = False

    OPTIONS = (
        Option("--mode", "random|nth", "by chance, or by turns", required=True),
        Option("--probability", "p", "how likely, 0 to 1", invertible=True),
        Option("--every", "n", "one of so many packets", invertible=True),
        Option("--packet", "n", "which one, from 0"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "statistic", "--probability", "--every")
        only_one(given, "statistic", "--probability", "--packet")
        mode = given.all("--mode")[0]
        chance, every, packet = (given.get(f"--{name}") for name in _NUMBERS)
        if mode.value == "random":
            if chance is None:
                fail("statistic: --probability must be specified when using random mode", given)
            return cls(_parse_probability(chance), inverted=chance.inverted)
        if mode.value != "nth":
            fail(f'statistic: bad mode "{mode.value}"', mode, "random or nth")
        if every is None or packet is None:
            fail("statistic: --every and --packet must be specified when using nth mode", given)
        count, index = number(every, "statistic", 1), number(packet, "statistic")
        if index >= count:
            fail("statistic: the --packet p must be 0 <= p <= n-1", packet)
        return cls(None, count, index, every.inverted)

    def format(self, family: Family) -> list[str]:
        return self._words("--")

    def describe(self, family: Family) -> str:
        words = self._words("")
        if self.probability is None and not self.packet:
            words = words[:-2]
        return " ".join(["statistic", *words])

    def _words(self, dash: str) -> list[str]:
        if self.probability is not None:
            chance = f"{self.probability / _ONE:.11f}"
            words = inverted([f"{dash}probability", chance], self.inverted)
            return [f"{dash}mode", "random", *words]
        every = inverted([f"{dash}every", str(self.every)], self.inverted)
        return [f"{dash}mode", "nth", *every, f"{dash}packet", str(self.packet)]


_NUMBERS = ("probability", "every", "packet")


def _parse_probability(use: Use) -> int:
    try:
        value = float(use.value)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        fail('statistic: bad value for option "--probability", or out of range (0-1)', use)
    return math.floor(value * _ONE + 0.5)
