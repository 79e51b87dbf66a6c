"""`[!] low:high`, the value of many matches: read, written, and asked of a field."""

from __future__ import annotations

import re

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleError
from bpfilter.plan.fields import Field
from bpfilter.plan.nodes import Predicate, inverted_if, within
from bpfilter.rules import netdb
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Option, Use, Word
from bpfilter.rules.values import U16, format_range, inverted

_DECIMAL = re.compile(r"[ \t\n\v\f\r]*\+?([0-9]{1,9})", re.ASCII)

#: Of the matches of protocols with ports.
PORT_OPTIONS = (
    Option(
        "--source-port",
        "port[:port]",
        "source port or range",
        invertible=True,
        aliases=("--sport",),
    ),
    Option(
        "--destination-port",
        "port[:port]",
        "destination port or range",
        invertible=True,
        aliases=("--dport",),
    ),
)


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends inclusive; nothing lies in a range with `low > high`, which releases before
    1.8.11 took.
    """

    low: int
    high: int
    inverted: bool = False

    def spans(self, high: int) -> bool:
        """Tell if it goes from 0 to `high`, inverted or not."""
        return self.low == 0 and self.high == high

    def __str__(self) -> str:
        return format_range(self.low, self.high)

    def format(self, option: str) -> list[str]:
        """Give `[!] option low[:high]`, as iptables-save writes every range."""
        return inverted([option, str(self)], self.inverted)

    def format_tested(self, option: str, high: int) -> list[str]:
        """Give the same, or nothing for a range that excludes nothing."""
        return self.format(option) if self.inverted or not self.spans(high) else []

    def describe(self, name: str) -> str:
        """Give `name:[!]low` or `names:[!]low:high`, as print_ports and print_spis do."""
        plural = "" if self.low == self.high else "s"
        return f"{name}{plural}:{'!' if self.inverted else ''}{self}"

    def predicate(self, field: Field) -> Predicate:
        return inverted_if(self.inverted, within(field, self.low, self.high))


ANY_PORT = Range(0, U16)


def shown(prefix: str, *parts: tuple[str, Range | None], high: int = U16) -> str:
    """Describe named ranges after a prefix; a range that excludes nothing is not shown."""
    return " ".join(
        [
            prefix,
            *(
                given.describe(name)
                for name, given in parts
                if given is not None and (given.inverted or not given.spans(high))
            ),
        ]
    )


def shown_ports(name: str, source: Range | None, destination: Range | None, names: Names) -> str:
    """Describe ports after a protocol's name, with the names of services (print_ports)."""
    text = name
    for side, given in (("spt", source), ("dpt", destination)):
        if given is not None and (given.inverted or not given.spans(U16)):
            plural = "" if given.low == given.high else "s"
            sign = "!" if given.inverted else ""
            text += f" {side}{plural}:{sign}{names.ports(given.low, given.high, name)}"
    return text


def any_port(text: str, word: Word) -> int:
    """Read a decimal number, or a service of whatever protocol (XTTYPE_PORT).

    Raises: RuleError.
    """
    found = _DECIMAL.fullmatch(text)
    port = int(found[1]) if found else netdb.service_port(text)
    if port is None or port > U16:
        raise RuleError(
            f'Port "{text}" does not resolve to anything.',
            word.span,
            "a number up to 65535, or the name of a service",
        )
    return port


def any_port_range(use: Use, owner: str) -> Range:
    """Read `port[:port]`: decimal numbers, or a service of whatever protocol (XTTYPE_PORTRC).

    Either end may be left out.
    Raises: RuleError for a third part, an unknown name, ends the wrong way round, or a
    number over 65535 (of which iptables, through getaddrinfo, would take the low 16 bits
    without a word).
    """
    word = use.words[0]
    parts = word.text.split(":")
    if len(parts) > 2:
        raise RuleError(
            f'{owner}: Too many components for option "{use.option.name}" (max: 2)', word.span
        )
    ends = []
    for text, default in zip(parts, (0, U16), strict=False):
        ends.append(any_port(text, word) if text else default)
    if ends[0] > ends[-1]:
        raise RuleError(f"Port range {ends[0]}-{ends[-1]} is negative.", word.span)
    return Range(ends[0], ends[-1], use.inverted)
