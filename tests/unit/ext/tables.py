"""The tables of tests/data/extensions: rules, and what iptables 1.8.11 makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bpfilter.ext import MODULES
from bpfilter.rules.model import Family
from tests.unit.ext.placed import Place

FOLDER = Path(__file__).parents[2] / "data" / "extensions"
_FAMILIES = {"4": Family.IPV4, "6": Family.IPV6}


@dataclass(frozen=True)
class Case:
    """A rule of a table for one family; `saved` is None if it is refused.

    `unreadable`, `lost`, `older` and `unasked` are reasons: the tables' README says for what.
    """

    module: str
    place: Place
    words: str
    saved: str | None
    listed: str = ""
    unreadable: str = ""
    lost: str = ""
    older: str = ""
    unasked: str = ""

    def __str__(self) -> str:
        return (
            f"{self.place.family.command} -t {self.place.table} -A {self.place.chain} {self.words}"
        )


def read_table(module: str) -> list[Case]:
    """Read the table of a module of `bpfilter.ext`."""
    made: list[Case] = []
    latest = 0  # cases of the line before
    table, chain = "", ""
    for line in (FOLDER / f"{module}.txt").read_text().splitlines():
        sign, _, rest = line.strip().partition(" ")
        if sign == "@":
            table, chain = rest.split()
        elif sign[:1] in ("+", "-"):
            latest = len(sign) - 1
            for digit in sign[1:]:
                place = Place(table, chain, _FAMILIES[digit])
                made.append(Case(module, place, rest, rest if sign[0] == "+" else None))
        elif sign:
            made[-latest:] = [_noted(case, sign, rest) for case in made[-latest:]]
    return made


def read_tables() -> list[Case]:
    """Read all tables."""
    return [case for module in MODULES for case in read_table(module)]


def _noted(noted: Case, sign: str, text: str) -> Case:
    match sign:
        case "=":
            return replace(noted, saved=text)
        case ">":
            return replace(noted, listed=text)
        case "!":
            return replace(noted, unreadable=text)
        case "%":
            return replace(noted, lost=text)
        case "~":
            return replace(noted, older=text)
        case "?":
            return replace(noted, unasked=text)
    raise ValueError(f"{sign!r} stands for nothing in a table")
