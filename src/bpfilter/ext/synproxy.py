"""`-j SYNPROXY`: shake hands in the server's place (libxt_SYNPROXY.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import U8, U16, need_chains, need_protocol, number

_TCP = 6


@target("SYNPROXY")
@dataclass(frozen=True, slots=True)
class Synproxy(Target):
    """What the server behind is known to do; sizes are None where it was not said."""

    sack_perm: bool = False
    timestamp: bool = False
    wscale: int | None = None
    mss: int | None = None
    ecn: bool = False

    OPTIONS = (
        Option("--sack-perm", "", "the server does selective acknowledgement", values=0),
        Option("--timestamp", "", "the server does timestamps", values=0),
        Option("--wscale", "value", "the server's window scale"),
        Option("--mss", "value", "the server's maximum segment size"),
        Option("--ecn", "", "the server does ECN", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "SYNPROXY", _TCP)
        wscale, mss = given.get("--wscale"), given.get("--mss")
        # 32 bits are read, but the kernel's fields have 8 and 16.
        made = cls(
            "--sack-perm" in given,
            "--timestamp" in given,
            number(wscale, "SYNPROXY") & U8 if wscale else None,
            number(mss, "SYNPROXY") & U16 if mss else None,
            "--ecn" in given,
        )
        need_chains(given, context, "SYNPROXY", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("INPUT", "FORWARD")

    def format(self, family: Family) -> list[str]:
        return self._words("--")

    # Every word has a blank behind it.
    def describe(self, family: Family) -> str:
        return " ".join(["SYNPROXY", *self._words(""), ""])

    def _words(self, dash: str) -> list[str]:
        words = [f"{dash}sack-perm"] if self.sack_perm else []
        words += [f"{dash}timestamp"] if self.timestamp else []
        words += [f"{dash}wscale", str(self.wscale)] if self.wscale is not None else []
        words += [f"{dash}mss", str(self.mss)] if self.mss is not None else []
        return words + ([f"{dash}ecn"] if self.ecn else [])
