"""`-m conntrack`: the packet's connection (libxt_conntrack.c revision 3, xt_conntrack.c).

A packet without a connection is decided by `--ctstate` alone: the kernel asks nothing
more of it then, and without `--ctstate` the match fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.plan.nodes import (
    All,
    Any,
    Predicate,
    Test,
    any_bit,
    equals,
    inverted_if,
    masked_words,
)
from bpfilter.rules import netdb
from bpfilter.rules.address import (
    parse_mask,
    parse_number_host,
)
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import NUMBERS, Names
from bpfilter.rules.registry import Context, Given, Option, Use, Word, match
from bpfilter.rules.values import U8, U16, format_range, number_range, to_number

#: XT_CONNTRACK_STATE_* (linux/netfilter/xt_conntrack.h), in the order they are printed.
STATES = {
    "INVALID": 0x001,
    "NEW": 0x008,
    "RELATED": 0x004,
    "ESTABLISHED": 0x002,
    "UNTRACKED": 0x100,
    "SNAT": 0x040,
    "DNAT": 0x080,
}
# The order in which a shortened name is tried.
_STATES_TRIED = ("INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED", "SNAT", "DNAT")

#: enum ip_conntrack_status (linux/netfilter/nf_conntrack_common.h).
STATUSES = {"EXPECTED": 0x1, "SEEN_REPLY": 0x2, "ASSURED": 0x4, "CONFIRMED": 0x8}
_STATUSES_TRIED = {"NONE": 0, **STATUSES}

_ADDRESSES = {
    "--ctorigsrc": fields.CT_ORIGSRC,
    "--ctorigdst": fields.CT_ORIGDST,
    "--ctreplsrc": fields.CT_REPLSRC,
    "--ctrepldst": fields.CT_REPLDST,
}
_PORTS = {
    "--ctorigsrcport": fields.CT_ORIGSRCPORT,
    "--ctorigdstport": fields.CT_ORIGDSTPORT,
    "--ctreplsrcport": fields.CT_REPLSRCPORT,
    "--ctrepldstport": fields.CT_REPLDSTPORT,
}
_DIRECTIONS = ("ORIGINAL", "REPLY")
_END = {
    "ctorigs": "source of the first packet",
    "ctorigd": "destination of the first packet",
    "ctrepls": "source of answers",
    "ctrepld": "destination of answers",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One option: bits, a number, a direction or a range's ends in `low` and `high`."""

    option: str
    low: int = 0
    high: int = 0
    inverted: bool = False
    address: bytes = b""
    mask: bytes = b""


@match("conntrack")
@dataclass(frozen=True, slots=True)
class Conntrack(Match):
    """`parts` are in the order of `OPTIONS`, which is the order they are printed in."""

    parts: tuple[Part, ...]

    TRACKS = True
    OPTIONS = (
        Option(
            "--ctstate",
            "state[,state]",
            "INVALID, NEW, ESTABLISHED, RELATED, UNTRACKED, SNAT or DNAT",
            invertible=True,
        ),
        Option("--ctproto", "protocol", "the protocol of the connection", invertible=True),
        *(Option(name, "address[/mask]", _END[name[2:9]], invertible=True) for name in _ADDRESSES),
        *(
            Option(name, "port[:port]", f"port of the {_END[name[2:9]]}", invertible=True)
            for name in _PORTS
        ),
        Option(
            "--ctstatus",
            "status[,status]",
            "NONE, EXPECTED, SEEN_REPLY, ASSURED or CONFIRMED",
            invertible=True,
        ),
        Option("--ctexpire", "seconds[:seconds]", "how long it has yet to live", invertible=True),
        Option("--ctdir", "ORIGINAL|REPLY", "the direction of the packet"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            raise RuleError("conntrack: At least one option is required", given.span)
        uses = (given.get(option.name) for option in cls.OPTIONS)
        return cls(tuple(_parse(use, context.family) for use in uses if use is not None))

    def format(self, family: Family) -> list[str]:
        return self._words(NUMBERS)

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        return " ".join(self._words(names)).replace("--", "")

    def _words(self, names: Names) -> list[str]:
        words: list[str] = []
        for part in self.parts:
            words += ["!"] if part.inverted else []
            words += [part.option, _format(part, names)]
        return words

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        tests = [inverted_if(part.inverted, _test(part)) for part in self.parts]
        if self.parts[0].option != "--ctstate":
            return All((equals(fields.CT_PRESENT, 1), *tests))
        if len(tests) == 1:
            return tests[0]
        untracked = equals(fields.CT_PRESENT, 0)
        return All((tests[0], Any((untracked, All(tuple(tests[1:]))))))


def parse_bits(use: Use, tried: Mapping[str, int], what: str) -> int:
    """Read `NAME[,…]`, any case and shortened as strncasecmp allows; gives the bits set."""
    bits = 0
    rest = use.value
    while True:
        name, comma, after = rest.partition(",")
        found = next((full for full in tried if full.startswith(name.upper())), None)
        if not name or found is None:
            raise RuleError(f'Bad {what} "{rest}"', use.words[0].span)
        bits |= tried[found]
        if not comma:
            return bits
        rest = after


def parse_states(use: Use, what: str, nat: bool = True) -> int:
    """Read connection states; `nat` takes SNAT and DNAT too."""
    tried = _STATES_TRIED if nat else _STATES_TRIED[:5]
    return parse_bits(use, {name: STATES[name] for name in tried}, what)


def format_bits(bits: int, names: Mapping[str, int]) -> str:
    return ",".join(name for name, bit in names.items() if bits & bit)


def _parse(use: Use, family: Family) -> Part:
    name = use.option.name
    if name == "--ctstate":
        return Part(name, parse_states(use, "ctstate"), inverted=use.inverted)
    if name == "--ctstatus":
        return Part(name, parse_bits(use, _STATUSES_TRIED, "ctstatus"), inverted=use.inverted)
    if name == "--ctproto":
        return Part(name, _protocol(use), inverted=use.inverted)
    if name in _ADDRESSES:
        address, mask = _address(use, family)
        return Part(name, inverted=use.inverted, address=address, mask=mask)
    if name == "--ctdir":
        return Part(name, _direction(use))
    low, high = number_range(use, "conntrack") if name == "--ctexpire" else _ports(use)
    return Part(name, low, high, use.inverted)


def _format(part: Part, names: Names) -> str:
    if part.option == "--ctstate":
        return format_bits(part.low, STATES)
    if part.option == "--ctstatus":
        return format_bits(part.low, STATUSES) or "NONE"
    if part.option == "--ctproto":
        return str(part.low)
    if part.option == "--ctdir":
        return _DIRECTIONS[part.low]
    if part.option in _ADDRESSES:
        if not names.numeric and not any(part.address):
            return "anywhere"
        return names.address(part.address, part.mask)
    if part.option in _PORTS and part.high == 0:
        return str(part.low)
    return format_range(part.low, part.high)


def _test(part: Part) -> Predicate:
    if part.option == "--ctstate":
        return any_bit(fields.CT_STATE, part.low)
    if part.option == "--ctstatus":
        return any_bit(fields.CT_STATUS, part.low)
    if part.option == "--ctproto":
        return equals(fields.CT_PROTO, part.low)
    if part.option == "--ctdir":
        return equals(fields.CT_REPLY, part.low)
    if part.option in _ADDRESSES:
        return _address_test(_ADDRESSES[part.option], part)
    return Test(_PORTS.get(part.option, fields.CT_EXPIRE), part.low, part.high)


def _address_test(field: Field, part: Part) -> Predicate:
    value = bytes(a & m for a, m in zip(part.address, part.mask, strict=True))
    return masked_words(field, value, part.mask)


def _protocol(use: Use) -> int:
    number = to_number(use.value, 0, U8)
    if number is None:
        number = netdb.protocol_number(use.value)
    if number is None:
        number = netdb.protocol_number(use.value.lower())  # /etc/protocols has both cases
    if number is None:
        raise RuleError(f'unknown protocol "{use.value}" specified', use.words[0].span)
    if number == 0:
        always = "condition would always" if use.inverted else "rule would never"
        raise RuleError(f"conntrack: {always} match protocol", use.words[0].span)
    return number


# Bits outside the mask are kept, and printed, unlike those of -s and -d.
def _address(use: Use, family: Family) -> tuple[bytes, bytes]:
    word = use.words[0]
    host, slash, mask_text = word.text.partition("/")
    address = parse_number_host(host, family)
    if address is None:
        raise RuleError(f"conntrack: `{host}' is not an address", word.span)
    if not slash:
        return address, b"\xff" * len(address)
    return address, parse_mask(mask_text, word, family)


def _ports(use: Use) -> tuple[int, int]:
    word = use.words[0]
    low_text, colon, high_text = word.text.partition(":")
    low = _port(low_text, word) if low_text else 0
    if not colon:
        return low, low
    high = _port(high_text, word) if high_text else U16
    if low > high:
        raise RuleError(f"Port range {low}-{high} is negative.", word.span)
    return low, high


# getaddrinfo takes decimal numbers alone, and names of any protocol.
def _port(text: str, word: Word) -> int:
    if not text.isascii() or not text.isdecimal():
        number = netdb.service_port(text)
    else:
        number = to_number(text.lstrip("0") or "0", 0, U16)
    if number is None:
        raise RuleError(f'Port "{text}" does not resolve to anything.', word.span)
    return number


def _direction(use: Use) -> int:
    if use.value.upper() not in _DIRECTIONS:
        raise RuleError(
            f'conntrack: Bad value for "--ctdir" option: "{use.value}"', use.words[0].span
        )
    return _DIRECTIONS.index(use.value.upper())
