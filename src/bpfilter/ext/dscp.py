"""`-m dscp`: the differentiated services field (net/netfilter/xt_dscp.c, dscp_mt)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import TOS
from bpfilter.plan.nodes import Predicate, equals, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, number, only_one

_MAX = 0x3F  # XT_DSCP_MAX
_SHIFT = 2  # XT_DSCP_SHIFT
_MASK = 0xFC

#: Code points by class name (IANA's dscp-registry).
CLASSES: dict[str, int] = {
    **{f"CS{n}": n << 3 for n in range(8)},
    "BE": 0x00,
    **{f"AF{n}{drop}": n << 3 | drop << 1 for n in range(1, 5) for drop in range(1, 4)},
    "EF": 0x2E,
}


def parse_class(use: Use) -> int:
    """Give the code point of a class name; text after a name is ignored, as by iptables.

    Raises: RuleError for any other name.
    """
    text = use.value.upper()
    for name, value in CLASSES.items():
        if text.startswith(name):
            return value
    raise RuleError(
        f"Invalid DSCP value `{use.value}'", use.words[0].span, "BE, EF, CS0-CS7 or AF11-AF43"
    )


@match("dscp")
@dataclass(frozen=True, slots=True)
class Dscp(Match):
    value: int
    inverted: bool = False

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--dscp", "value", "the code point, 0 to 63", invertible=True),
        Option("--dscp-class", "name", "the code point of BE, EF, CSx or AFxy", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            raise RuleError("DSCP match: Parameter --dscp is required", given.span)
        only_one(given, "dscp", "--dscp", "--dscp-class")
        use = given.uses[0]
        by_name = use.option.name == "--dscp-class"
        return cls(parse_class(use) if by_name else number(use, "dscp", 0, _MAX), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--dscp", f"0x{self.value:02x}"], self.inverted)

    def describe(self, family: Family) -> str:
        return f"DSCP match {'!' if self.inverted else ''}0x{self.value:02x}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return inverted_if(self.inverted, equals(TOS, self.value << _SHIFT, _MASK))
