"""`-m connlabel`: a bit among the 128 labels of a connection (libxt_connlabel.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted, to_number

_MAX_BIT = 127  # XT_CONNLABEL_MAXBIT


@match("connlabel")
@dataclass(frozen=True, slots=True)
class Connlabel(UnenforcedMatch):
    """`sets` puts the label on the connection first."""

    bit: int
    inverted: bool = False
    sets: bool = False

    TRACKS = True
    OPTIONS = (
        Option("--label", "bit", "the label's number, 0 to 127", invertible=True, required=True),
        Option("--set", "", "put the label on the connection", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.all("--label")[0]
        bit = to_number(use.value, 0, _MAX_BIT)
        if bit is None:
            hint = "names of connlabel.conf are not looked up; write the number, 0 to 127"
            fail(f"label '{use.value}' not found or invalid value", use, hint)
        return cls(bit, use.inverted, "--set" in given)

    def format(self, family: Family) -> list[str]:
        words = inverted(["--label", f'"{self.bit}"'], self.inverted)
        return words + (["--set"] if self.sets else [])

    def describe(self, family: Family) -> str:
        sign, sets = "! " if self.inverted else "", " set" if self.sets else ""
        return f"connlabel {sign}{self.bit}{sets}"
