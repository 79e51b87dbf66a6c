"""`-m osf`: the operating system a TCP SYN looks to be from (libxt_osf.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text
from bpfilter.rules.model import Family
from bpfilter.rules.registry import V4, Context, Given, Option, match
from bpfilter.rules.values import inverted, need_chains, need_protocol, number

_GENRE_BYTES = 32  # MAXGENRELEN
_TCP = 6


@match("osf", families=V4)
@dataclass(frozen=True, slots=True)
class Osf(UnenforcedMatch):
    genre: str
    inverted: bool = False
    ttl: int | None = None
    log: int | None = None

    OPTIONS = (
        Option("--genre", "name", "the system, or `unknown'", invertible=True, required=True),
        Option("--ttl", "level", "the TTL: 0 the same, 1 less or the same, 2 any"),
        Option("--log", "level", "log: 0 all matches, 1 the first, 2 all known"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "osf", _TCP)
        genre, ttl, log = (given.get(option.name) for option in cls.OPTIONS)
        assert genre is not None
        made = cls(
            cut_text(genre, "osf", _GENRE_BYTES),
            genre.inverted,
            number(ttl, "osf", 0, 2) if ttl else None,
            number(log, "osf", 0, 2) if log else None,
        )
        need_chains(given, context, "osf", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("PREROUTING", "INPUT", "FORWARD")

    def format(self, family: Family) -> list[str]:
        words = inverted(["--genre", self.genre], self.inverted)
        words += ["--ttl", str(self.ttl)] if self.ttl is not None else []
        return words + (["--log", str(self.log)] if self.log is not None else [])

    def describe(self, family: Family) -> str:
        return f"OS fingerprint match {'! ' if self.inverted else ''}{self.genre}"
