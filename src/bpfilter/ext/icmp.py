"""`-m icmp`: type and code (icmp_match, net/ipv4/netfilter/ip_tables.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import ICMP_CODE, ICMP_GUARD, ICMP_TYPE
from bpfilter.plan.nodes import TRUE, Guard, Predicate, all_of, equals, inverted_if, within
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import V4, Context, Given, Option, Use, match
from bpfilter.rules.values import U8, inverted, need_protocol, scan_number

_PROTOCOL = 1

#: This type stands for every type and code.
ANY_TYPE = 0xFF

#: `type` or `type/code` by name, in iptables' order (extensions/libxt_icmp.h).
NAMES: dict[str, str] = {
    "any": "255",
    "echo-reply": "0",
    "pong": "0",
    "destination-unreachable": "3",
    "network-unreachable": "3/0",
    "host-unreachable": "3/1",
    "protocol-unreachable": "3/2",
    "port-unreachable": "3/3",
    "fragmentation-needed": "3/4",
    "source-route-failed": "3/5",
    "network-unknown": "3/6",
    "host-unknown": "3/7",
    "network-prohibited": "3/9",
    "host-prohibited": "3/10",
    "TOS-network-unreachable": "3/11",
    "TOS-host-unreachable": "3/12",
    "communication-prohibited": "3/13",
    "host-precedence-violation": "3/14",
    "precedence-cutoff": "3/15",
    "source-quench": "4",
    "redirect": "5",
    "network-redirect": "5/0",
    "host-redirect": "5/1",
    "TOS-network-redirect": "5/2",
    "TOS-host-redirect": "5/3",
    "echo-request": "8",
    "ping": "8",
    "router-advertisement": "9",
    "router-solicitation": "10",
    "time-exceeded": "11",
    "ttl-exceeded": "11",
    "ttl-zero-during-transit": "11/0",
    "ttl-zero-during-reassembly": "11/1",
    "parameter-problem": "12",
    "ip-header-bad": "12/0",
    "required-option-missing": "12/1",
    "timestamp-request": "13",
    "timestamp-reply": "14",
    "address-mask-request": "17",
    "address-mask-reply": "18",
}


@dataclass(frozen=True, slots=True)
class IcmpType:
    """A type and an inclusive range of codes, of which iptables-save prints the lowest only."""

    number: int
    low: int = 0
    high: int = U8
    inverted: bool = False

    def __str__(self) -> str:
        return str(self.number) + ("" if self.any_code else f"/{self.low}")

    @property
    def any_code(self) -> bool:
        return self.low == 0 and self.high == U8

    def describe(self, names: Mapping[str, str] | None) -> str:
        """Give what follows the match's name in a listing, by name if it has one of `names`;
        else with no blank unless inverted."""
        numbers = str(self) if self.any_code or self.low == self.high else ""
        for name, text in (names or {}).items():
            if text == numbers:
                return f" {'!' if self.inverted else ''}{name}"
        text = f"{' !' if self.inverted else ''}type {self.number}"
        if self.low == self.high:
            return f"{text} code {self.low}"
        return text if self.any_code else f"{text} codes {self.low}-{self.high}"

    @property
    def unsaved(self) -> str:
        """Name the part that iptables-save does not print: a range of codes."""
        ranged = self.low != self.high and (self.low, self.high) != (0, U8)
        return f"the code range {self.low}:{self.high}" if ranged else ""

    def predicate(self) -> Predicate:
        here = all_of(equals(ICMP_TYPE, self.number), within(ICMP_CODE, self.low, self.high))
        return inverted_if(self.inverted, here)


def parse_type(use: Use, names: Mapping[str, str], protocol: str) -> IcmpType:
    """Read the start of one name in any case, or `type[/code[:code]]`.

    Raises: RuleError if several names start so, or a number is missing or over 255.
    """
    word = use.words[0]
    wanted = word.text.lower()
    found = [name for name in names if name.lower().startswith(wanted)]
    if len(found) > 1:
        raise RuleError(
            f"Ambiguous {protocol} type `{word.text}': `{found[0]}' or `{found[1]}'?", word.span
        )
    text = names[found[0]] if found else word.text
    number, colon, rest = _byte_range(text)
    if number is None:
        raise RuleError(f"Unknown {protocol} type `{word.text}'", word.span)
    if colon:
        raise RuleError(f"{protocol} type range not supported", word.span)
    low, high = 0, U8
    if rest.startswith("/"):
        code, last, rest = _byte_range(rest[1:])
        if code is None:
            raise RuleError(f"Unknown {protocol} code `{word.text}'", word.span)
        low, high = code, code if last is None else last
    if rest:
        raise RuleError(f"unknown character {rest[0]} in `{word.text}'", word.span)
    return IcmpType(number, low, high, use.inverted)


# `N` or `N:M`, then anything: (N, None or M, rest); N is None if a number is missing or too large.
def _byte_range(text: str) -> tuple[int | None, int | None, str]:
    first = scan_number(text)
    if first is None or first[0] > U8:
        return None, None, text
    number, rest = first
    if not rest.startswith(":"):
        return number, None, rest
    second = scan_number(rest[1:])
    if second is None or second[0] > U8:
        return None, None, text
    return number, second[0], second[1]


@match("icmp", families=V4)
@dataclass(frozen=True, slots=True)
class Icmp(Match):
    type: IcmpType

    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option(
            "--icmp-type",
            "type[/code]",
            "type and code, numbers or a name",
            invertible=True,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "icmp", _PROTOCOL)
        return cls(parse_type(given.uses[0], NAMES, "ICMP"))

    def format(self, family: Family) -> list[str]:
        is_any = self.type.number == ANY_TYPE and self.type.any_code
        text = "any" if is_any else str(self.type)
        return inverted(["--icmp-type", text], self.type.inverted)

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        return f"icmp{self.type.describe(None if names.numeric else NAMES)}"

    def unsaved(self) -> str:
        return self.type.unsaved

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        if self.type.number == ANY_TYPE:
            return all_of(Guard(ICMP_GUARD), inverted_if(self.type.inverted, TRUE))
        return all_of(Guard(ICMP_GUARD), self.type.predicate())
