"""`-m rpfilter`: would a reply leave by the interface the packet came in by (libxt_rpfilter.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import need_chains, need_table

_FLAGS = {
    "loose": "the reply may leave by any interface",
    "validmark": "look its route up with the packet's mark",
    "accept-local": "also packets from a local address",
    "invert": "packets that fail the test",
}


@match("rpfilter")
@dataclass(frozen=True, slots=True)
class Rpfilter(UnenforcedMatch):
    flags: frozenset[str] = frozenset()

    OPTIONS = tuple(Option(f"--{flag}", "", text, values=0) for flag, text in _FLAGS.items())

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "rpfilter", "raw", "mangle")
        made = cls(frozenset(use.option.name[2:] for use in given.uses))
        need_chains(given, context, "rpfilter", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("PREROUTING",)

    def format(self, family: Family) -> list[str]:
        return [f"--{flag}" for flag in _FLAGS if flag in self.flags]

    def describe(self, family: Family) -> str:
        return " ".join(["rpfilter", *(flag for flag in _FLAGS if flag in self.flags)])
