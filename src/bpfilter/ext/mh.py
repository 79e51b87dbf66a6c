"""`-m mh`: the type of a Mobile IPv6 header (libip6t_mh.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.ext.ranges import Range
from bpfilter.rules.model import Family
from bpfilter.rules.registry import V6, Context, Given, Option, Use, match
from bpfilter.rules.values import U8, need_protocol, to_number

_PROTOCOL = 135
_ANY = Range(0, U8)
# Each type with its short name (RFC 6275), by number.
_TYPES = (
    ("binding-refresh-request", "brr"),
    ("home-test-init", "hoti"),
    ("careof-test-init", "coti"),
    ("home-test", "hot"),
    ("careof-test", "cot"),
    ("binding-update", "bu"),
    ("binding-acknowledgement", "ba"),
    ("binding-error", "be"),
)


@match("mh", families=V6)
@dataclass(frozen=True, slots=True)
class Mh(UnenforcedMatch):
    types: Range = _ANY

    OPTIONS = (
        Option("--mh-type", "type[:type]", "type or range, numbers or names", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "mh", _PROTOCOL)
        use = given.get("--mh-type")
        return cls(_parse_types(use) if use else _ANY)

    def format(self, family: Family) -> list[str]:
        return self.types.format("--mh-type") if self.types != _ANY else []

    def describe(self, family: Family) -> str:
        if self.types == _ANY:
            return "mh"
        return f"mh {'!' if self.types.inverted else ''}{self.types}"


def _parse_types(use: Use) -> Range:
    low_text, colon, high_text = use.value.partition(":")
    if not colon:
        kind = _parse_type(low_text, use)
        return Range(kind, kind, use.inverted)
    low = _parse_type(low_text, use) if low_text else 0
    high = _parse_type(high_text, use) if high_text else U8
    if low > high:
        fail("Invalid MH type range (min > max)", use)
    return Range(low, high, use.inverted)


# A name may be cut short: the first that begins so is meant, unless a later one is just that.
def _parse_type(text: str, use: Use) -> int:
    short = text.lower()
    kinds = [
        (name, kind)
        for kind, names in enumerate(_TYPES)
        for name in names
        if name.startswith(short)
    ]
    exact = next((kind for name, kind in kinds if name == short), None)
    if exact is not None:
        return exact
    if kinds:
        return kinds[0][1]
    number = to_number(text, 0, U8)
    if number is None:
        fail(f"Invalid MH type `{text}'", use, "a number up to 255, or a name such as `bu'")
    return number
