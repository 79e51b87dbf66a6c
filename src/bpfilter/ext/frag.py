"""`-m frag`: the IPv6 fragment header."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.nodes import All, Guard, Predicate, equals, inverted_if, within
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import V6, Context, Given, Option, match
from bpfilter.rules.values import U32, format_range, inverted, number, number_range, only_one

# The flags in the order iptables prints them, with the words of its listing.
_FLAGS = {
    "--fragres": "reserved",
    "--fragfirst": "first",
    "--fragmore": "more",
    "--fraglast": "last",
}
_HELP = {
    "--fragres": "with a reserved field of zero",
    "--fragfirst": "the first fragment",
    "--fragmore": "more fragments follow",
    "--fraglast": "the last fragment",
}


@match("frag", families=V6)
@dataclass(frozen=True, slots=True)
class Frag(Match):
    """`ids` is inclusive; `length` is kept but, as in the kernel, never looked at."""

    ids: tuple[int, int] = (0, U32)
    ids_inverted: bool = False
    length: int | None = None
    length_inverted: bool = False
    flags: frozenset[str] = frozenset()

    OPTIONS = (
        Option("--fragid", "id[:id]", "identification or range", invertible=True),
        Option("--fraglen", "length", "length of the header, never looked at", invertible=True),
        *(Option(name, "", _HELP[name], values=0) for name in _FLAGS),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "frag", "--fragmore", "--fraglast")
        ids, length = given.get("--fragid"), given.get("--fraglen")
        return cls(
            number_range(ids, "frag") if ids else (0, U32),
            ids is not None and ids.inverted,
            number(length, "frag") if length else None,
            length is not None and length.inverted,
            frozenset(name for name in _FLAGS if name in given),
        )

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self.ids != (0, U32) or self.ids_inverted:
            words += inverted(["--fragid", format_range(*self.ids)], self.ids_inverted)
        if self.length is not None:
            words += inverted(["--fraglen", str(self.length)], self.length_inverted)
        return words + [name for name in _FLAGS if name in self.flags]

    def describe(self, family: Family) -> str:
        sign, low, high = "!" if self.ids_inverted else "", *self.ids
        text = "frag "
        if self.ids != (0, U32) or self.ids_inverted:
            text += f"id:{sign}{low}" if low == high else f"ids:{sign}{low}:{high}"
        if self.length is not None:
            text += f" length:{'!' if self.length_inverted else ''}{self.length}"
        return text + "".join(f" {word}" for name, word in _FLAGS.items() if name in self.flags)

    # frag_mt6 (net/ipv6/netfilter/ip6t_frag.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        low, high = self.ids
        tests = {
            "--fragres": equals(fields.FRAG_RESERVED, 0),
            "--fragfirst": equals(fields.FRAG_FIRST, 1),
            "--fragmore": equals(fields.FRAG_MORE, 1),
            "--fraglast": equals(fields.FRAG_MORE, 0),
        }
        same = within(fields.FRAG_ID, low, high)
        return All(
            (
                Guard(fields.FRAG_GUARD),
                inverted_if(self.ids_inverted, same),
                *(test for name, test in tests.items() if name in self.flags),
            )
        )
