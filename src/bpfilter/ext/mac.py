"""`-m mac`: the source MAC address of a packet that came in by an Ethernet device."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.plan.nodes import All, Predicate, equals, inverted_if, masked_words
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import format_mac, inverted, mac_address, need_chains


@match("mac")
@dataclass(frozen=True, slots=True)
class Mac(Match):
    """Six bytes as on the wire. Without an Ethernet header the match fails, inverted or not."""

    source: bytes
    inverted: bool = False

    OPTIONS = (
        Option(
            "--mac-source",
            "xx:xx:xx:xx:xx:xx",
            "source address of the Ethernet header",
            invertible=True,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        made = cls(mac_address(use), use.inverted)
        need_chains(given, context, "mac", *made.chains())
        return made

    def chains(self) -> tuple[str, ...]:
        return ("PREROUTING", "INPUT", "FORWARD")

    def format(self, family: Family) -> list[str]:
        return inverted(["--mac-source", format_mac(self.source)], self.inverted)

    def describe(self, family: Family) -> str:
        return " ".join(["MAC", *inverted([format_mac(self.source)], self.inverted)])

    # mac_mt (net/netfilter/xt_mac.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        same = masked_words(fields.MAC, self.source + bytes(2), b"\xff" * 6 + bytes(2))
        return All((equals(fields.MAC_OK, 1), inverted_if(self.inverted, same)))
