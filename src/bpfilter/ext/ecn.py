"""`-m ecn`: the congestion bits of IP and TCP (net/netfilter/xt_ecn.c)."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import ECN_TCP, TCP_FLAGS, TOS
from bpfilter.plan.nodes import TRUE, Predicate, all_of, equals, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted, need_protocol, number

_TCP = 6
_CODEPOINT = 0x03  # XT_ECN_IP_MASK
_ECE, _CWR = 0x40, 0x80


@match("ecn")
@dataclass(frozen=True, slots=True)
class Ecn(Match):
    """`ece` and `cwr` are wanted set (True), clear (False), or either (None)."""

    ece: bool | None = None
    cwr: bool | None = None
    codepoint: int | None = None
    codepoint_inverted: bool = False

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--ecn-tcp-cwr", "", "the CWR bit is set", values=0, invertible=True),
        Option("--ecn-tcp-ece", "", "the ECE bit is set", values=0, invertible=True),
        Option("--ecn-ip-ect", "number", "the ECT bits of the IP header, 0 to 3", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            raise RuleError("ECN match: some option required", given.span)
        ece, cwr = given.get("--ecn-tcp-ece"), given.get("--ecn-tcp-cwr")
        if ece or cwr:
            need_protocol(given, context, "ecn", _TCP)
        codepoint = given.get("--ecn-ip-ect")
        return cls(
            not ece.inverted if ece else None,
            not cwr.inverted if cwr else None,
            number(codepoint, "ecn", 0, 3) if codepoint else None,
            codepoint.inverted if codepoint else False,
        )

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self.ece is not None:
            words += inverted(["--ecn-tcp-ece"], not self.ece)
        if self.cwr is not None:
            words += inverted(["--ecn-tcp-cwr"], not self.cwr)
        if self.codepoint is not None:
            words += inverted(["--ecn-ip-ect", str(self.codepoint)], self.codepoint_inverted)
        return words

    def describe(self, family: Family) -> str:
        text = "ECN match"
        if self.ece is not None:
            text += " ECE" if self.ece else " !ECE"
        if self.cwr is not None:
            text += " CWR" if self.cwr else " !CWR"
        if self.codepoint is not None:
            text += f" {'!' if self.codepoint_inverted else ''}ECT={self.codepoint}"
        return text

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        asks_tcp = self.ece is not None or self.cwr is not None
        ip: Predicate = TRUE
        if self.codepoint is not None:
            here = equals(TOS, self.codepoint, _CODEPOINT)
            ip = inverted_if(self.codepoint_inverted, here)
        return all_of(
            ip,
            equals(ECN_TCP, 1) if asks_tcp else TRUE,
            _flag(_ECE, self.ece),
            _flag(_CWR, self.cwr),
        )


def _flag(bit: int, wanted: bool | None) -> Predicate:
    return TRUE if wanted is None else equals(TCP_FLAGS, bit if wanted else 0, bit)
