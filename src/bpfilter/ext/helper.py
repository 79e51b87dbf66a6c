"""`-m helper`: the connection tracking helper a connection is related by (libxt_helper.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted
from bpfilter.rules.words import Text

_NAME_BYTES = 30  # struct xt_helper_info


@match("helper")
@dataclass(frozen=True, slots=True)
class Helper(UnenforcedMatch):
    """An empty name stands for any helper."""

    name: str
    inverted: bool = False

    OPTIONS = (
        Option("--helper", "name", "the helper of the connection", invertible=True, required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        raw = use.value.encode("utf-8", "surrogateescape")[: _NAME_BYTES - 1]
        return cls(raw.decode("utf-8", "surrogateescape"), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--helper", Text(self.name)], self.inverted)

    def describe(self, family: Family) -> str:
        return f'helper match {"! " if self.inverted else ""}"{self.name}"'
