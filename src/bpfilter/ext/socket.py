"""`-m socket`: does an open socket on this host take the packet (libxt_socket.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import need_chains

_HELP = {
    "transparent": "only sockets that are transparent",
    "nowildcard": "also sockets that listen on any address",
    "restore-skmark": "give the packet the mark of the socket",
}


@match("socket")
@dataclass(frozen=True, slots=True)
class Socket(UnenforcedMatch):
    flags: frozenset[str] = frozenset()

    OPTIONS = tuple(Option(f"--{flag}", "", text, values=0) for flag, text in _HELP.items())

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        made = cls(frozenset(use.option.name[2:] for use in given.uses))
        need_chains(given, context, "socket", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("PREROUTING", "INPUT")

    def format(self, family: Family) -> list[str]:
        return [f"--{flag}" for flag in _HELP if flag in self.flags]

    def describe(self, family: Family) -> str:
        return " ".join(["socket", *self.format(family)])
