"""`-j TCPOPTSTRIP`: blank options of the TCP header (libxt_TCPOPTSTRIP.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import U8, need_protocol, need_table, to_number

_TCP = 6
_NAMES = {"wscale": 3, "mss": 2, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19}


@target("TCPOPTSTRIP")
@dataclass(frozen=True, slots=True)
class Tcpoptstrip(Target):
    """Kinds of options, in ascending order."""

    kinds: tuple[int, ...] = ()

    OPTIONS = (Option("--strip-options", "list", "the options, numbers or names"),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "TCPOPTSTRIP", "mangle")
        need_protocol(given, context, "TCPOPTSTRIP", _TCP)
        use = given.get("--strip-options")
        return cls(_parse_kinds(use) if use else ())

    def format(self, family: Family) -> list[str]:
        return ["--strip-options", self._list()] if self.kinds else []

    def describe(self, family: Family) -> str:
        return f"TCPOPTSTRIP options {self._list()}" if self.kinds else ""

    def _list(self) -> str:
        return ",".join(map(str, self.kinds))


def _parse_kinds(use: Use) -> tuple[int, ...]:
    kinds: set[int] = set()
    for text in use.value.split(","):
        kind = _NAMES.get(text) or to_number(text, 0, U8)
        if kind is None:
            fail(f'Bad TCP option value "{text}"', use, f"a number or one of {', '.join(_NAMES)}")
        if kind < 2:
            fail("Option value may not be 0 or 1", use)
        if kind in kinds:
            fail(f'Option "{text}" already specified', use)
        kinds.add(kind)
    return tuple(sorted(kinds))
