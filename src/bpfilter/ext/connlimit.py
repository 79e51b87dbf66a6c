"""`-m connlimit`: how many connections an address or network has (libxt_connlimit.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail, prefix
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import number, only_one


@match("connlimit")
@dataclass(frozen=True, slots=True)
class Connlimit(UnenforcedMatch):
    """True if there are more than `limit` connections, or with `upto` if there are not."""

    limit: int
    length: int
    upto: bool = False
    destination: bool = False

    OPTIONS = (
        Option("--connlimit-upto", "n", "connections are at most this many", invertible=True),
        Option("--connlimit-above", "n", "connections are more than this many", invertible=True),
        Option("--connlimit-mask", "length", "hosts of this prefix count together"),
        Option("--connlimit-saddr", "", "count by source; the default", values=0),
        Option("--connlimit-daddr", "", "count by destination", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "connlimit", "--connlimit-upto", "--connlimit-above")
        only_one(given, "connlimit", "--connlimit-saddr", "--connlimit-daddr")
        limit = given.get("--connlimit-upto") or given.get("--connlimit-above")
        if limit is None:
            fail('You must specify "--connlimit-above" or "--connlimit-upto".', given)
        mask = given.get("--connlimit-mask")
        width = context.family.address_bytes * 8
        return cls(
            number(limit, "connlimit"),
            prefix(mask.value, mask, "connlimit", context.family) if mask else width,
            (limit.option.name == "--connlimit-upto") != limit.inverted,
            "--connlimit-daddr" in given,
        )

    def format(self, family: Family) -> list[str]:
        return [
            "--connlimit-upto" if self.upto else "--connlimit-above",
            str(self.limit),
            "--connlimit-mask",
            str(self.length),
            "--connlimit-daddr" if self.destination else "--connlimit-saddr",
        ]

    def describe(self, family: Family) -> str:
        side, sign = "dst" if self.destination else "src", "<=" if self.upto else ">"
        return f"#conn {side}/{self.length} {sign} {self.limit}"
