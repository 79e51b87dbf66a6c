"""`-j SNAT`, DNAT, MASQUERADE, REDIRECT, NETMAP: change addresses and ports.

(libxt_NAT.c, libipt_NETMAP.c, libip6t_NETMAP.c)
"""

from __future__ import annotations

import socket
from typing import ClassVar, Self

from bpfilter.dataclass import dataclass, field
from bpfilter.ext._values import fail, host_mask
from bpfilter.rules import netdb
from bpfilter.rules.address import format_host, format_saved
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import U16, need_chains, need_table, scan_number, to_number

_WITH_PORTS = (6, 17, 132, 33, 1)  # tcp, udp, sctp, dccp, icmp (whose id is the port)
_FLAGS = ("random", "random-fully", "persistent")


@dataclass(frozen=True, slots=True)
class Ports:
    """Inclusive; with `base` (DNAT), the new port is offset by the old one less `base`."""

    low: int
    high: int
    base: int | None = None

    def __str__(self) -> str:
        text = str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
        return text if self.base is None else f"{text}/{self.base}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """First and last; inclusive."""

    low: bytes
    high: bytes

    def __str__(self) -> str:
        low, high = format_host(self.low), format_host(self.high)
        return low if low == high else f"{low}-{high}"


@dataclass(frozen=True, slots=True)
class Nat(Target):
    """What SNAT, DNAT, MASQUERADE and REDIRECT share."""

    addresses: Addresses | None = None
    ports: Ports | None = None
    flags: frozenset[str] = field(default_factory=frozenset)

    OPTIONS: ClassVar[tuple[Option, ...]]
    CHAINS: ClassVar[tuple[str, ...]]
    #: What the listing prints before the new addresses and ports.
    LISTED: ClassVar[str]

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, cls.NAME, "nat")
        need_chains(given, context, cls.NAME, *cls.CHAINS)
        flags = frozenset(use.option.name[2:] for use in given.uses if not use.option.values)
        to = given.get(cls.OPTIONS[0].name)
        if to is None:
            return cls(flags=flags)
        if to.option.name == "--to-ports":
            return cls(None, _parse_ports(to.value, to, context), flags)
        return cls(*_parse_to(to, context), flags)

    def chains(self) -> tuple[str, ...]:
        return self.CHAINS

    def format(self, family: Family) -> list[str]:
        text = self._text(family)
        words = [self.OPTIONS[0].name, text] if text else []
        return words + [f"--{flag}" for flag in _FLAGS if flag in self.flags]

    def describe(self, family: Family) -> str:
        text = self._text(family)
        words = [self.LISTED + text] if text else []
        return " ".join(words + [flag for flag in _FLAGS if flag in self.flags])

    def _text(self, family: Family) -> str:
        if self.addresses is None or self.ports is None:
            mark = ":" if self.ports is not None and self.OPTIONS[0].name != "--to-ports" else ""
            return f"{mark}{self.addresses or self.ports or ''}"
        if family is Family.IPV6:
            return f"[{self.addresses}]:{self.ports}"
        return f"{self.addresses}:{self.ports}"


@target("SNAT")
@dataclass(frozen=True, slots=True)
class Snat(Nat):
    CHAINS = ("INPUT", "POSTROUTING")
    LISTED = "to:"
    OPTIONS = (
        Option(
            "--to-source", "[address[-address]][:port[-port]]", "the new source", required=True
        ),
        Option("--random", "", "choose the port at random", values=0),
        Option("--random-fully", "", "choose the port at random for each connection", values=0),
        Option("--persistent", "", "give a client the same address each time", values=0),
    )


@target("DNAT")
@dataclass(frozen=True, slots=True)
class Dnat(Nat):
    CHAINS = ("PREROUTING", "OUTPUT")
    LISTED = "to:"
    OPTIONS = (
        Option(
            "--to-destination",
            "[address[-address]][:port[-port[/base]]]",
            "the new destination",
            required=True,
        ),
        Option("--random", "", "choose the port at random", values=0),
        Option("--persistent", "", "give a client the same address each time", values=0),
    )


@target("MASQUERADE")
@dataclass(frozen=True, slots=True)
class Masquerade(Nat):
    CHAINS = ("POSTROUTING",)
    LISTED = "masq ports: "
    OPTIONS = (
        Option("--to-ports", "port[-port]", "the new port"),
        Option("--random", "", "choose the port at random", values=0),
        Option("--random-fully", "", "choose the port at random for each connection", values=0),
    )


@target("REDIRECT")
@dataclass(frozen=True, slots=True)
class Redirect(Nat):
    CHAINS = ("PREROUTING", "OUTPUT")
    LISTED = "redir ports "
    OPTIONS = (
        Option("--to-ports", "port[-port]", "the new port"),
        Option("--random", "", "choose the port at random", values=0),
    )


@target("NETMAP")
@dataclass(frozen=True, slots=True)
class Netmap(Target):
    """Map a whole network: the bits of `mask` are taken from `network`."""

    network: bytes
    mask: bytes

    OPTIONS = (Option("--to", "network[/mask]", "the network to map to", required=True),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "NETMAP", "nat")
        value, mask = host_mask(given.uses[0], "NETMAP", context.family)
        network = bytes(a & b for a, b in zip(value, mask, strict=True))
        return cls(network, mask)

    def format(self, family: Family) -> list[str]:
        return ["--to", format_saved(self.network, self.mask)]

    def describe(self, family: Family) -> str:
        return f"to:{format_saved(self.network, self.mask)}"


# [ADDRESS[-ADDRESS]][:PORTS]; an IPv6 address with ports stands in brackets.
def _parse_to(use: Use, context: Context) -> tuple[Addresses | None, Ports | None]:
    text = use.value
    opening = text.find("[")
    if opening >= 0:
        closing = text.find("]", opening)
        if closing < 0 or context.family is Family.IPV4:
            fail("Invalid address format", use)
        colon = text.find(":", closing)
        host_text = text[opening + 1 : closing]
    else:
        colon = text.find(":") if text.count(":") == 1 else -1
        host_text = text if colon < 0 else text[:colon]
    ports = _parse_ports(text[colon + 1 :], use, context) if colon >= 0 else None
    if not host_text and ports is not None:
        return None, ports
    low_text, dash, high_text = host_text.partition("-")
    low = _parse_host(low_text, use, context.family)
    return Addresses(low, _parse_host(high_text, use, context.family) if dash else low), ports


def _parse_host(text: str, use: Use, family: Family) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, text)
    except (OSError, ValueError):
        fail(f'Bad IP address "{text}"', use)


# PORT, a service's name, or LOW-HIGH[/BASE].
def _parse_ports(text: str, use: Use, context: Context) -> Ports:
    if context.protocol is None or context.protocol.number not in _WITH_PORTS:
        fail("Need TCP, UDP, SCTP or DCCP with port specification", use)
    found = scan_number(text)
    if found is None or found[0] > U16:
        port = netdb.service_port(text)
        if port is None:
            fail(f"Port `{text}' not valid", use)
        return Ports(port, port)
    low, rest = found
    if not rest:
        return Ports(low, low)
    if rest[0] != "-":
        hint = "a range is written with a dash" if rest[0] == ":" else ""
        fail(f"Garbage after port value: `{rest}'", use, hint)
    high_text, slash, base_text = rest[1:].partition("/")
    high = to_number(high_text, 0, U16)
    if high is None or high < low:
        fail(f"Port range `{text}' not valid", use)
    if not slash:
        return Ports(low, high)
    if use.option.name != "--to-destination":
        fail("Shifted portmap ranges not supported with this kernel", use)
    base = to_number(base_text, 1, U16)
    base = netdb.service_port(base_text) if base is None else base
    if base is None:
        fail(f"Port `{base_text}' not valid", use)
    return Ports(low, high, base)
