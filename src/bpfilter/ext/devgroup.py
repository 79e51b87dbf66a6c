"""`-m devgroup`: the device groups of the interfaces (libxt_devgroup.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail, format_value_mask, value_mask
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, need_chains

# /etc/iproute2/group as iproute2 ships it.
_NAMES = {"default": 0}


@dataclass(frozen=True, slots=True)
class Group:
    value: int
    mask: int
    inverted: bool = False


@match("devgroup")
@dataclass(frozen=True, slots=True)
class Devgroup(UnenforcedMatch):
    source: Group | None = None
    destination: Group | None = None

    OPTIONS = (
        Option(
            "--src-group", "value[/mask]", "group of the interface it came by", invertible=True
        ),
        Option(
            "--dst-group", "value[/mask]", "group of the interface it leaves by", invertible=True
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        source, destination = given.get("--src-group"), given.get("--dst-group")
        if source is None and destination is None:
            fail("devgroup: you must specify either '--src-group' or '--dst-group'", given)
        made = cls(
            _parse_group(source) if source else None,
            _parse_group(destination) if destination else None,
        )
        need_chains(given, context, "devgroup", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        before = ("PREROUTING", "INPUT") if self.destination is None else ()
        behind = ("OUTPUT", "POSTROUTING") if self.source is None else ()
        return *before, "FORWARD", *behind

    def format(self, family: Family) -> list[str]:
        return self._words("--")

    def describe(self, family: Family) -> str:
        return " ".join(self._words(""))

    # By number, as where /etc/iproute2/group does not exist.
    def _words(self, dash: str) -> list[str]:
        words: list[str] = []
        for name, group in (("src-group", self.source), ("dst-group", self.destination)):
            if group is not None:
                text = format_value_mask(group.value, group.mask, {})
                words += inverted([dash + name, text], group.inverted)
        return words


def _parse_group(use: Use) -> Group:
    return Group(*value_mask(use, "devgroup", _NAMES), use.inverted)
