"""`-m nfacct`: count into an accounting object of nfacct(8) (libxt_nfacct.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.words import Text, quote

_NAME_BYTES = 32  # NFACCT_NAME_MAX


@match("nfacct")
@dataclass(frozen=True, slots=True)
class Nfacct(UnenforcedMatch):
    name: str

    OPTIONS = (Option("--nfacct-name", "name", "the accounting object", required=True),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        return cls(cut_text(given.all("--nfacct-name")[0], "nfacct", _NAME_BYTES))

    # iptables puts a blank behind the option, and another before the name.
    def format(self, family: Family) -> list[str]:
        return ["--nfacct-name", "", Text(self.name)]

    def describe(self, family: Family) -> str:
        return f"nfacct-name  {quote(self.name)}"
