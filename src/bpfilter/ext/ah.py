"""`-m ah`: the SPI of an authentication header, and for IPv6 its length and reserved field.

IPv4 reads the transport header of `-p ah` (net/ipv4/netfilter/ipt_ah.c); IPv6 searches
the extension headers for one, whatever `-p` says (net/ipv6/netfilter/ip6t_ah.c).
"""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext.ranges import Range
from bpfilter.plan.fields import AH_GUARD, AH_LENGTH, AH_RESERVED, AH_SPI
from bpfilter.plan.nodes import TRUE, Guard, Predicate, all_of, equals, inverted_if, within
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import V4, V6, Context, Given, Option, match
from bpfilter.rules.values import U32, inverted, need_protocol, number, number_range

_PROTOCOL = 51
_ANY_SPI = Range(0, U32)


# Without an SPI the list has a blank behind `ah`, which the words after it keep.
def _shown_spi(spi: Range) -> str:
    return "ah " + (spi.describe("spi") if spi != _ANY_SPI else "")


def _parse_spi(given: Given) -> Range:
    use = given.get("--ahspi")
    return Range(*number_range(use, "ah", U32), use.inverted) if use else _ANY_SPI


@match("ah", families=V4)
@dataclass(frozen=True, slots=True)
class Ah(Match):
    spi: Range = _ANY_SPI

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--ahspi", "spi[:spi]", "security parameter index or range", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "ah", _PROTOCOL)
        return cls(_parse_spi(given))

    def format(self, family: Family) -> list[str]:
        return self.spi.format_tested("--ahspi", U32)

    def describe(self, family: Family) -> str:
        return _shown_spi(self.spi)

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return all_of(Guard(AH_GUARD), self.spi.predicate(AH_SPI))


@match("ah", families=V6)
@dataclass(frozen=True, slots=True)
class Ah6(Match):
    """`length` is the header's, in bytes; 0 asks nothing, even inverted."""

    spi: Range = _ANY_SPI
    length: int = 0
    length_inverted: bool = False
    reserved_zero: bool = False

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--ahspi", "spi[:spi]", "security parameter index or range", invertible=True),
        Option("--ahlen", "length", "length of the header in bytes", invertible=True),
        Option("--ahres", "", "with a reserved field of zero", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        length = given.get("--ahlen")
        return cls(
            _parse_spi(given),
            number(length, "ah", 0, U32) if length else 0,
            length.inverted if length else False,
            "--ahres" in given,
        )

    def format(self, family: Family) -> list[str]:
        words = self.spi.format_tested("--ahspi", U32)
        if self.length or self.length_inverted:
            words += inverted(["--ahlen", str(self.length)], self.length_inverted)
        return words + (["--ahres"] if self.reserved_zero else [])

    def describe(self, family: Family) -> str:
        text = _shown_spi(self.spi)
        if self.length or self.length_inverted:
            text += f"length:{'!' if self.length_inverted else ''}{self.length}"
        return text + (" reserved" if self.reserved_zero else "")

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        length = within(AH_LENGTH, self.length, self.length)
        return all_of(
            Guard(AH_GUARD),
            self.spi.predicate(AH_SPI),
            inverted_if(self.length_inverted, length) if self.length else TRUE,
            equals(AH_RESERVED, 0) if self.reserved_zero else TRUE,
        )
