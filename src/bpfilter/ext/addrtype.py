"""`-m addrtype`: what kind of address the routing tables say the source or destination is."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.errors import RefusedError
from bpfilter.ext._values import fail
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.plan.nodes import (
    U32,
    All,
    Any,
    Not,
    Predicate,
    Test,
    any_bit,
    equals,
    inverted_if,
)
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, need_chains, only_one

# RTN_* (include/uapi/linux/rtnetlink.h): a type is bit `1 << index`.
_NAMES = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE",
    "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE",
)  # fmt: skip
_BIT = {name: 1 << index for index, name in enumerate(_NAMES)}
# Types the IPv6 match asks of the address itself (all that are listed must hold), and of
# the route (one of those listed must hold).
_IPV6_OF_ADDRESS = _BIT["MULTICAST"] | _BIT["UNICAST"] | _BIT["UNSPEC"]
_IPV6_OF_ROUTE = _BIT["LOCAL"] | _BIT["ANYCAST"] | _BIT["UNREACHABLE"]
_IPV6_ALL = _IPV6_OF_ADDRESS | _IPV6_OF_ROUTE

_MULTICAST = 0xFF00_0000  # lowest first word of ff00::/8
_MAPPED = 0xFFFF  # third word of ::ffff:0:0/96

# Where there is an interface to limit the question to.
_CHAINS = {
    "in": ("PREROUTING", "INPUT", "FORWARD"),
    "out": ("FORWARD", "OUTPUT", "POSTROUTING"),
}
_SOURCE = {"": fields.SRC_TYPE, "in": fields.SRC_TYPE_IN, "out": fields.SRC_TYPE_OUT}
_DESTINATION = {"": fields.DST_TYPE, "in": fields.DST_TYPE_IN, "out": fields.DST_TYPE_OUT}


@dataclass(frozen=True, slots=True)
class Types:
    """A set of `1 << RTN_*` bits, never empty."""

    bits: int
    inverted: bool = False

    def __str__(self) -> str:
        return ",".join(name for name, bit in _BIT.items() if self.bits & bit)


@match("addrtype")
@dataclass(frozen=True, slots=True)
class Addrtype(Match):
    """`limit` is "in" or "out" if only that interface's addresses and routes count, else ""."""

    source: Types | None = None
    destination: Types | None = None
    limit: str = ""

    OPTIONS = (
        Option("--src-type", "type[,type]", "the kind of the source address", invertible=True),
        Option(
            "--dst-type", "type[,type]", "the kind of the destination address", invertible=True
        ),
        Option("--limit-iface-in", "", "look only at the interface it came by", values=0),
        Option("--limit-iface-out", "", "look only at the interface it leaves by", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        source, destination = given.get("--src-type"), given.get("--dst-type")
        if source is None and destination is None:
            fail("addrtype: you must specify --src-type or --dst-type", given)
        only_one(given, "addrtype", "--limit-iface-in", "--limit-iface-out")
        limit = next((side for side in _CHAINS if f"--limit-iface-{side}" in given), "")
        made = cls(
            _parse_types(source, context.family) if source else None,
            _parse_types(destination, context.family) if destination else None,
            limit,
        )
        if limit:
            need_chains(given, context, f"addrtype --limit-iface-{limit}", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return _CHAINS.get(self.limit, ())

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self.source is not None:
            words += inverted(["--src-type", str(self.source)], self.source.inverted)
        if self.destination is not None:
            words += inverted(["--dst-type", str(self.destination)], self.destination.inverted)
        return words + ([f"--limit-iface-{self.limit}"] if self.limit else [])

    def describe(self, family: Family) -> str:
        words = ["ADDRTYPE match"]
        for name, types in (("src-type", self.source), ("dst-type", self.destination)):
            if types is not None:
                words.append(f"{name} {'!' if types.inverted else ''}{types}")
        return " ".join(words + ([f"limit-{self.limit}"] if self.limit else []))

    # addrtype_mt_v1 (net/netfilter/xt_addrtype.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        parts: list[Predicate] = []
        for types, of_route, of_address in (
            (self.source, _SOURCE[self.limit], fields.SADDR),
            (self.destination, _DESTINATION[self.limit], fields.DADDR),
        ):
            if types is None:
                continue
            if family is Family.IPV4:
                asked = any_bit(of_route, types.bits)
            else:
                _refuse_routes(types, rule)
                asked = _ask_ipv6(of_address, types)
            parts.append(inverted_if(types.inverted, asked))
        return All(tuple(parts))


# A name may be cut short: the first type that begins with it is meant.
def _parse_types(use: Use, family: Family) -> Types:
    bits = 0
    for part in use.value.split(","):
        name = next((name for name in _NAMES if part and name.startswith(part.upper())), None)
        if name is None:
            fail(f'addrtype: bad type "{part}"', use, f"one of {', '.join(_NAMES)}")
        if family is Family.IPV6 and not _BIT[name] & _IPV6_ALL:
            fail(f'addrtype: type "{name}" does not exist for IPv6', use)
        bits |= _BIT[name]
    return Types(bits, use.inverted)


# match_lookup_rt6() looks up a route as if to send: the answer hangs on policy rules, on
# which neighbours answer, and on a hash with a secret key. A program cannot do the same.
def _refuse_routes(types: Types, rule: Rule) -> None:
    asked = types.bits & _IPV6_OF_ROUTE
    if asked:
        raise RefusedError(
            f"match 'addrtype' with type {Types(asked)} cannot be enforced as eBPF for IPv6 yet: "
            "a program cannot look up a route",
            rule.span,
        )


# match_type6(), with the classes of __ipv6_addr_type() (net/ipv6/addrconf_core.c): all that
# is not multicast is unicast, but for `::` and IPv4-mapped addresses.
def _ask_ipv6(address: Field, types: Types) -> Predicate:
    parts: list[Predicate] = []
    unspecified = All(tuple(equals(address, 0, word=word) for word in range(4)))
    multicast = Test(address, _MULTICAST, U32)
    if types.bits & _BIT["MULTICAST"]:
        parts.append(multicast)
    if types.bits & _BIT["UNICAST"]:
        upper_half = (equals(address, 0, word=word) for word in range(2))
        mapped = All((*upper_half, equals(address, _MAPPED, word=2)))
        parts.append(Not(Any((multicast, unspecified, mapped))))
    if types.bits & _BIT["UNSPEC"]:
        parts.append(unspecified)
    return All(tuple(parts))
