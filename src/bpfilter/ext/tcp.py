"""`-m tcp`: ports, flags and options of the TCP header (libxt_tcp.c, xt_tcpudp.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan import fields
from bpfilter.plan.nodes import All, Guard, Predicate, any_bit, equals, inverted_if, within
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, Word, match
from bpfilter.rules.values import (
    U8,
    U16,
    format_range,
    inverted,
    need_protocol,
    only_one,
    port_range,
    to_number,
)

IPPROTO_TCP = 6

FLAGS = {"FIN": 0x01, "SYN": 0x02, "RST": 0x04, "PSH": 0x08, "ACK": 0x10, "URG": 0x20}
_FLAG_SETS = {**FLAGS, "ALL": 0x3F, "NONE": 0}

ANY_PORT = (0, U16)


@match("tcp")
@dataclass(frozen=True, slots=True)
class Tcp(Match):
    """Port ranges are inclusive; `flags` is (mask, compare) on byte 13; option 0 is none."""

    sports: tuple[int, int] = ANY_PORT
    dports: tuple[int, int] = ANY_PORT
    not_sports: bool = False
    not_dports: bool = False
    flags: tuple[int, int] = (0, 0)
    not_flags: bool = False
    option: int = 0
    not_option: bool = False

    OPTIONS = (
        Option(
            "--sport",
            "port[:port]",
            "source port or range",
            invertible=True,
            aliases=("--source-port",),
        ),
        Option(
            "--dport",
            "port[:port]",
            "destination port or range",
            invertible=True,
            aliases=("--destination-port",),
        ),
        Option("--syn", "", "SYN alone of SYN, RST, ACK, FIN is set", values=0, invertible=True),
        Option(
            "--tcp-flags",
            "mask flags",
            "of the flags in mask, just these are set",
            values=2,
            invertible=True,
        ),
        Option("--tcp-option", "number", "an option that the header has", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_protocol(given, context, "tcp", IPPROTO_TCP)
        only_one(given, "tcp", "--syn", "--tcp-flags")
        sport, dport = given.get("--sport"), given.get("--dport")
        flags = given.get("--syn") or given.get("--tcp-flags")
        option = given.get("--tcp-option")
        return cls(
            port_range(sport, "tcp") if sport else ANY_PORT,
            port_range(dport, "tcp") if dport else ANY_PORT,
            sport is not None and sport.inverted,
            dport is not None and dport.inverted,
            _parse_flags(flags) if flags else (0, 0),
            flags is not None and flags.inverted,
            _parse_option(option) if option else 0,
            option is not None and option.inverted,
        )

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self.sports != ANY_PORT or self.not_sports:
            words += inverted(["--sport", format_range(*self.sports)], self.not_sports)
        if self.dports != ANY_PORT or self.not_dports:
            words += inverted(["--dport", format_range(*self.dports)], self.not_dports)
        if self.option or self.not_option:
            words += inverted(["--tcp-option", str(self.option)], self.not_option)
        if self.flags[0] or self.not_flags:
            mask, compare = (_format_flags(bits) for bits in self.flags)
            words += inverted(["--tcp-flags", mask, compare], self.not_flags)
        return words

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        text = "tcp"
        text += _describe_ports("spt", self.sports, self.not_sports, names)
        text += _describe_ports("dpt", self.dports, self.not_dports, names)
        if self.option or self.not_option:
            text += f" option={'!' if self.not_option else ''}{self.option}"
        if self.flags[0] or self.not_flags:
            sign = "!" if self.not_flags else ""
            form = "0x{:02X}".format if names.numeric else _format_flags
            text += f" flags:{sign}{'/'.join(map(form, self.flags))}"
        return text

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        parts: list[Predicate] = [Guard(fields.TCP_GUARD)]
        parts += port_tests(self.sports, self.not_sports, self.dports, self.not_dports)
        mask, compare = self.flags
        if mask or self.not_flags:
            parts.append(inverted_if(self.not_flags, equals(fields.TCP_FLAGS, compare, mask)))
        if self.option:
            word, bit = divmod(self.option, 32)
            seen = any_bit(fields.TCP_OPTIONS, 1 << (31 - bit), word)
            parts += [Guard(fields.TCPOPT_GUARD), inverted_if(self.not_option, seen)]
        return All(tuple(parts))


def port_tests(
    sports: tuple[int, int], not_sports: bool, dports: tuple[int, int], not_dports: bool
) -> list[Predicate]:
    """Give the tests of two port ranges; a range that takes every port asks nothing."""
    tests: list[Predicate] = []
    for field, ports, negated in (
        (fields.SPORT, sports, not_sports),
        (fields.DPORT, dports, not_dports),
    ):
        if ports != ANY_PORT or negated:
            tests.append(inverted_if(negated, within(field, *ports)))
    return tests


# ` dpt:22` or ` dpts:!20:22` as print_ports of libxt_tcp.c; nothing for every port.
def _describe_ports(name: str, ports: tuple[int, int], negated: bool, names: Names) -> str:
    if ports == ANY_PORT and not negated:
        return ""
    plural = "s" if ports[0] != ports[1] else ""
    return f" {name}{plural}:{'!' if negated else ''}{names.ports(*ports, 'tcp')}"


def _parse_flags(use: Use) -> tuple[int, int]:
    if use.option.name == "--syn":
        return FLAGS["SYN"] | FLAGS["RST"] | FLAGS["ACK"] | FLAGS["FIN"], FLAGS["SYN"]
    mask, compare = (_flag_bits(word) for word in use.words)
    return mask, compare


def _flag_bits(word: Word) -> int:
    bits = 0
    for name in filter(None, word.text.split(",")):
        if name.upper() not in _FLAG_SETS:
            raise RuleError(f"Unknown TCP flag `{name}'", word.span)
        bits |= _FLAG_SETS[name.upper()]
    return bits


def _format_flags(bits: int) -> str:
    return ",".join(name for name, bit in FLAGS.items() if bits & bit) or "NONE"


def _parse_option(use: Use) -> int:
    value = to_number(use.value, 1, U8)
    if value is None:
        raise RuleError(f'Bad TCP option "{use.value}"', use.words[0].span)
    return value
