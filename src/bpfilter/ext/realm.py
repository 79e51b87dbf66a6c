"""`-m realm`: the routing realm of the packet's route (libipt_realm.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import format_value_mask, value_mask
from bpfilter.rules.model import Family
from bpfilter.rules.registry import V4, Context, Given, Option, match
from bpfilter.rules.values import inverted

# /etc/iproute2/rt_realms as iproute2 ships it.
_NAMES = {"cosmos": 0}


@match("realm", families=V4)
@dataclass(frozen=True, slots=True)
class Realm(UnenforcedMatch):
    value: int
    mask: int
    inverted: bool = False

    OPTIONS = (
        Option(
            "--realm",
            "value[/mask]",
            "the realm of the route, number or name",
            invertible=True,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(*value_mask(use, "realm", _NAMES), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--realm", self._text()], self.inverted)

    def describe(self, family: Family) -> str:
        return " ".join(inverted(["realm", self._text()], self.inverted))

    # By number, as where /etc/iproute2/rt_realms does not exist.
    def _text(self) -> str:
        return format_value_mask(self.value, self.mask, {})
