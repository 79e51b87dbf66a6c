"""`-m tos`: type of service, or traffic class (net/netfilter/xt_dscp.c, tos_mt, revision 1)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import TOS
from bpfilter.plan.nodes import Predicate, inverted_if, masked_equals
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import U8, inverted, scan_number, to_number

#: IPTOS_* (include/uapi/linux/ip.h) by iptables' names.
NAMES: dict[str, int] = {
    "Minimize-Delay": 0x10,
    "Maximize-Throughput": 0x08,
    "Maximize-Reliability": 0x04,
    "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}

_NAME_MASK = 0x3F


def parse_tos(use: Use, name_mask: int = _NAME_MASK) -> tuple[int, int]:
    """Read `value[/mask]`, or a name in any case with its mask (XTTYPE_TOSMASK).

    Raises: RuleError for an unknown name, anything over 255, or anything following.
    """
    word = use.words[0]
    first = scan_number(word.text)
    if first is None or first[0] > U8:
        for name, value in NAMES.items():
            if name.lower() == word.text.lower():
                return value, name_mask
        raise RuleError(
            f'Symbolic name "{word.text}" is unknown', word.span, f"one of {', '.join(NAMES)}"
        )
    value, rest = first
    mask = to_number(rest[1:], 0, U8) if rest.startswith("/") else None if rest else U8
    if mask is None:
        raise RuleError(f'Illegal value: "{word.text}"', word.span, "value[/mask], up to 0xff")
    return value, mask


def service_name(value: int, mask: int) -> str | None:
    """Give the name of a type of service, None if it has none (tos_try_print_symbolic)."""
    found = (name for name, number in NAMES.items() if number == value)
    return next(found, None) if mask == _NAME_MASK else None


@match("tos")
@dataclass(frozen=True, slots=True)
class Tos(Match):
    value: int
    mask: int
    inverted: bool = False

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option(
            "--tos", "value[/mask]", "the field, a number or name", invertible=True, required=True
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(*parse_tos(use), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--tos", f"0x{self.value:02x}/0x{self.mask:02x}"], self.inverted)

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        text = f"tos match{'!' if self.inverted else ''}"
        name = None if names.numeric else service_name(self.value, self.mask)
        return f"{text} {name}" if name else f"{text}0x{self.value:02x}/0x{self.mask:02x}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return inverted_if(self.inverted, masked_equals(TOS, self.value, self.mask))
