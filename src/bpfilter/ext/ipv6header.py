"""`-m ipv6header`: which extension headers an IPv6 packet has."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.plan import fields
from bpfilter.plan.nodes import All, Predicate, equals, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.names import Names
from bpfilter.rules.registry import V6, Context, Given, Option, Use, match
from bpfilter.rules.values import inverted

# MASK_* (include/uapi/linux/netfilter_ipv6/ip6t_ipv6header.h), each with the name iptables-save
# prints (a protocol's name where it has one) and the other names it reads.
_HEADERS = (
    (0x80, "hop-by-hop", ("hop", "0", "hopopt", "HOPOPT")),
    (0x40, "ipv6-opts", ("dst", "60", "IPv6-Opts")),
    (0x20, "ipv6-route", ("route", "43", "IPv6-Route")),
    (0x10, "ipv6-frag", ("frag", "44", "IPv6-Frag")),
    (0x08, "ah", ("auth", "51", "IPSEC-AH")),
    (0x04, "esp", ("50", "IPSEC-ESP")),
    (0x02, "ipv6-nonxt", ("none", "59", "IPv6-NoNxt")),
    (0x01, "protocol", ("prot", "255")),
)
_BIT = {word: bit for bit, name, others in _HEADERS for word in (name, *others)}


@match("ipv6header", families=V6)
@dataclass(frozen=True, slots=True)
class Ipv6header(Match):
    """`soft`: the packet may have other headers too."""

    headers: int
    inverted: bool = False
    soft: bool = False

    OPTIONS = (
        Option(
            "--header",
            "name[,name]",
            "extension headers, by name or number",
            invertible=True,
            required=True,
        ),
        Option("--soft", "", "there may be others too", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.all("--header")[0]
        return cls(_parse_headers(use), use.inverted, "--soft" in given)

    def format(self, family: Family) -> list[str]:
        words = inverted(["--header", self._names()], self.inverted)
        return [*words, "--soft"] if self.soft else words

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        listed = f"0x{self.headers:02X}" if names.numeric else self._names()
        text = f"ipv6header flags:{'!' if self.inverted else ''}{listed}"
        return f"{text} soft" if self.soft else text

    def _names(self) -> str:
        return ",".join(name for bit, name, _ in _HEADERS if self.headers & bit)

    # ipv6header_mt6 (net/ipv6/netfilter/ip6t_ipv6header.c): a soft match that is inverted asks
    # that none of the headers be there.
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        found = fields.IPV6_HEADERS
        if self.soft:
            test: Predicate = equals(found, 0 if self.inverted else self.headers, self.headers)
        else:
            test = inverted_if(self.inverted, equals(found, self.headers))
        return All((equals(fields.IPV6_HEADERS_OK, 1), test))


def _parse_headers(use: Use) -> int:
    bits = 0
    for word in filter(None, use.value.split(",")):
        if word not in _BIT:
            fail(f'ipv6header: unknown header "{word}" specified', use)
        bits |= _BIT[word]
    if not bits:
        fail("ipv6header: cannot parse header names", use)
    return bits
