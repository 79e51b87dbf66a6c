"""`-m ipcomp`: the compression parameter index of an IPComp header (libxt_ipcomp.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext.ranges import Range
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import U32, need_protocol, number_range

_PROTOCOL = 108
_ANY = Range(0, U32)
_NONE_GIVEN = Range(0, 0)  # no index was asked for, but iptables asks for this one


@match("ipcomp")
@dataclass(frozen=True, slots=True)
class Ipcomp(UnenforcedMatch):
    """`reserved_zero` is kept but, as in the kernel, of no effect."""

    spi: Range = _NONE_GIVEN
    reserved_zero: bool = False

    OPTIONS = (
        Option("--ipcompspi", "spi[:spi]", "compression index or range", invertible=True),
        Option("--compres", "", "with a reserved field of zero", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "ipcomp", _PROTOCOL)
        use = given.get("--ipcompspi")
        spi = Range(*number_range(use, "ipcomp", U32), use.inverted) if use else _NONE_GIVEN
        return cls(spi, "--compres" in given)

    def format(self, family: Family) -> list[str]:
        words = self.spi.format("--ipcompspi") if self.spi != _ANY else []
        return words + (["--compres"] if self.reserved_zero else [])

    # Without an index the list has a blank behind `comp`, which the word after it keeps.
    def describe(self, family: Family) -> str:
        text = "comp " + (self.spi.describe("spi") if self.spi != _ANY else "")
        return text + (" reserved" if self.reserved_zero else "")
