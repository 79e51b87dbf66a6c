"""`-j NFQUEUE`: hand the packet to a program which decides (libxt_NFQUEUE.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import U16, number, number_range, only_one


@target("NFQUEUE")
@dataclass(frozen=True, slots=True)
class Nfqueue(Target):
    """Queues `first` to `last`."""

    first: int = 0
    last: int = 0
    bypass: bool = False
    cpu_fanout: bool = False

    OPTIONS = (
        Option("--queue-num", "number", "the queue"),
        Option("--queue-balance", "first:last", "several queues, by connection"),
        Option("--queue-bypass", "", "let the packet on if nobody listens", values=0),
        Option("--queue-cpu-fanout", "", "choose the queue by CPU", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "NFQUEUE", "--queue-num", "--queue-balance")
        one, several = given.get("--queue-num"), given.get("--queue-balance")
        fanout = given.get("--queue-cpu-fanout")
        if fanout is not None and several is None:
            fail("NFQUEUE: --queue-cpu-fanout also requires --queue-balance", fanout)
        first = last = number(one, "NFQUEUE", 0, U16) if one else 0
        if several is not None:
            first, last = number_range(several, "NFQUEUE", U16 - 1)
            if first >= last:
                fail(f'NFQUEUE: bad range "{several.value}"', several, "FIRST:LAST")
        return cls(first, last, "--queue-bypass" in given, fanout is not None)

    def format(self, family: Family) -> list[str]:
        return self._words("--queue-")

    def describe(self, family: Family) -> str:
        return " ".join(["NFQUEUE", *self._words("")])

    def _words(self, start: str) -> list[str]:
        words = [f"{start}num", str(self.first)]
        if self.first != self.last:
            words = [f"{start}balance", f"{self.first}:{self.last}"]
        words += [f"{start}bypass"] if self.bypass else []
        return words + ([f"{start}cpu-fanout"] if self.cpu_fanout else [])
