"""`-m srh`: the IPv6 segment routing header (libip6t_srh.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import host_mask
from bpfilter.rules.address import format_saved
from bpfilter.rules.model import Family
from bpfilter.rules.registry import V6, Context, Given, Option, Use, match
from bpfilter.rules.values import U8, U16, inverted, number

_COMPARED = {
    "hdr-len": "header length, in units of 8 bytes, is",
    "segs-left": "number of segments left is",
    "last-entry": "index of the last segment is",
}
_SIGNS = {"eq": "this", "gt": "greater", "lt": "less"}
_SEGMENTS = {"psid": "previous", "nsid": "next", "lsid": "last"}


@match("srh", families=V6)
@dataclass(frozen=True, slots=True)
class Srh(UnenforcedMatch):
    """`tests` has (name, value as it is saved, inverted), in the order iptables saves them.

    Tests of one field share its value: the last one given.
    """

    tests: tuple[tuple[str, str, bool], ...] = ()

    OPTIONS = (
        Option("--srh-next-hdr", "number", "the next header", invertible=True),
        *(
            Option(f"--srh-{field}-{sign}", "number", f"{text} {word}", invertible=True)
            for field, text in _COMPARED.items()
            for sign, word in _SIGNS.items()
        ),
        Option("--srh-tag", "number", "the tag", invertible=True),
        *(
            Option(f"--srh-{name}", "address[/length]", f"the {word} segment", invertible=True)
            for name, word in _SEGMENTS.items()
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        values: dict[str, str] = {}
        for use in given.uses:
            values[_field(use)] = _value(use)
        tests = []
        for option in cls.OPTIONS:
            found = given.get(option.name)
            if found is not None:
                name = option.name.removeprefix("--srh-")
                tests.append((name, values[_field(found)], found.inverted))
        return cls(tuple(tests))

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        for name, value, is_inverted in self.tests:
            words += inverted([f"--srh-{name}", value], is_inverted)
        return words

    def describe(self, family: Family) -> str:
        text = "srh"
        for name, value, is_inverted in self.tests:
            sign = "!" if is_inverted else ""
            text += f" {name} {sign} {value}" if name in _SEGMENTS else f" {name}:{sign}{value}"
        return text


def _field(use: Use) -> str:
    name = use.option.name.removeprefix("--srh-")
    return name[:-3] if name[-3:] in ("-eq", "-gt", "-lt") else name


def _value(use: Use) -> str:
    name = _field(use)
    if name in _SEGMENTS:
        return format_saved(*host_mask(use, "srh", Family.IPV6))
    return str(number(use, "srh", 0, U16 if name == "tag" else U8))
