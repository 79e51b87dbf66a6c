"""`-m physdev`: the bridge ports a bridged packet came in by and goes out by."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.plan.nodes import (
    FALSE,
    TRUE,
    All,
    Any,
    Not,
    Predicate,
    equals,
    inverted_if,
    masked_words,
)
from bpfilter.rules.model import Family, Interface, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, need_chains
from bpfilter.rules.words import is_plain

_NAME_BYTES = 16  # IFNAMSIZ


@match("physdev")
@dataclass(frozen=True, slots=True)
class Physdev(Match):
    """Each question is None if it is not asked, False if it is asked inverted."""

    is_in: bool | None = None
    port_in: Interface | None = None
    is_out: bool | None = None
    port_out: Interface | None = None
    is_bridged: bool | None = None

    OPTIONS = (
        Option("--physdev-in", "name[+]", "bridge port it came by", invertible=True),
        Option("--physdev-out", "name[+]", "bridge port it leaves by", invertible=True),
        Option("--physdev-is-in", "", "it came by a bridge", values=0, invertible=True),
        Option("--physdev-is-out", "", "it leaves by a bridge", values=0, invertible=True),
        Option("--physdev-is-bridged", "", "it is bridged, not routed", values=0, invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        if not given.uses:
            fail("physdev: no physdev option specified", given)
        port_in, port_out = given.get("--physdev-in"), given.get("--physdev-out")
        made = cls(
            _flag(given, "--physdev-is-in"),
            _parse_port(port_in) if port_in else None,
            _flag(given, "--physdev-is-out"),
            _parse_port(port_out) if port_out else None,
            _flag(given, "--physdev-is-bridged"),
        )
        if made.chains():
            need_chains(given, context, "physdev --physdev-out", *made.chains())
        return made

    # Before a packet is routed, nothing is known of its output port (physdev_mt_check).
    def chains(self) -> tuple[str, ...]:
        if self.is_bridged or (self.port_out is None and self.is_out is None):
            return ()
        return "PREROUTING", "INPUT", "FORWARD", "POSTROUTING"

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        for name, flag, port in (
            ("--physdev-is-in", self.is_in, None),
            ("--physdev-in", None, self.port_in),
            ("--physdev-is-out", self.is_out, None),
            ("--physdev-out", None, self.port_out),
            ("--physdev-is-bridged", self.is_bridged, None),
        ):
            if flag is not None:
                words += inverted([name], not flag)
            if port is not None:
                words += inverted([name, port.name], port.inverted)
        return words

    def describe(self, family: Family) -> str:
        return " ".join(["PHYSDEV match", *self.format(family)])

    # physdev_mt (net/netfilter/xt_physdev.c). An input port that is not known passes --physdev-in,
    # an output port that is not known fails --physdev-out, inverted or not.
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        bridged, has_in, has_out = (
            equals(field, 1)
            for field in (fields.PHYS_BRIDGED, fields.PHYS_IN_SET, fields.PHYS_OUT_SET)
        )
        asked: list[Predicate] = []
        for flag, answer in (
            (self.is_bridged, has_out),
            (self.is_in, has_in),
            (self.is_out, has_out),
        ):
            if flag is not None:
                asked.append(inverted_if(not flag, answer))
        if self.port_in is not None:
            asked.append(Any((Not(has_in), _named(fields.PHYS_IN, self.port_in))))
        if self.port_out is not None:
            asked += [has_out, _named(fields.PHYS_OUT, self.port_out)]
        unbridged = TRUE if self._all_inverted() else FALSE
        return Any((All((bridged, *asked)), All((Not(bridged), unbridged))))

    def _all_inverted(self) -> bool:
        ports = [port for port in (self.port_in, self.port_out) if port is not None]
        return not (self.is_in or self.is_out or self.is_bridged) and all(
            port.inverted for port in ports
        )


def _flag(given: Given, name: str) -> bool | None:
    use = given.get(name)
    return None if use is None else not use.inverted


def _parse_port(use: Use) -> Interface:
    if len(use.value.encode("utf-8", "surrogateescape")) >= _NAME_BYTES:
        fail(f"interface name '{use.value}' must be shorter than {_NAME_BYTES} bytes", use)
    if not is_plain(use.value):
        fail(f"interface name '{use.value}' has a blank or a quote, and could not be saved", use)
    return Interface(use.value, use.inverted)


def _named(field: Field, port: Interface) -> Predicate:
    name = port.name.encode("utf-8", "surrogateescape")
    if name.endswith(b"+"):
        value, length = name[:-1], len(name) - 1
    else:
        value, length = name, len(name) + 1 if name else 0
    same = masked_words(
        field, value.ljust(_NAME_BYTES, b"\0"), (b"\xff" * length).ljust(_NAME_BYTES, b"\0")
    )
    return inverted_if(port.inverted, same)
