"""Shapes of rules: what many lines of a ruleset have in common, and what differs.

A large ruleset is a few shapes many times over: the same options in the same order, with
other addresses, ports, chains or comments. What may differ is a `Slot`; a shape's first
rule stands for all, and its slots are filled anew for every other one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from bpfilter.dataclass import dataclass, replace
from bpfilter.rules.model import Address, Jump, Rule

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Slot(StrEnum):
    """What may differ between rules of one shape; the value has the type given."""

    SOURCE = "source"  # (value, mask), both bytes
    DESTINATION = "destination"
    SPORTS = "sports"  # (low, high) of the one match that is in PORT_FIELDS
    DPORTS = "dports"
    CHAIN = "chain"  # which user chain the rule is in: its name
    TARGET = "target"  # which user chain it jumps to; goto or not is the shape's
    COMMENT = "comment"  # its text


#: Matches whose ports may be slots, and what their classes (in `ext/`) call the ports.
PORT_FIELDS: dict[str, dict[Slot, str]] = {
    "tcp": {Slot.SPORTS: "sports", Slot.DPORTS: "dports"},
    "udp": {Slot.SPORTS: "source", Slot.DPORTS: "destination"},
    "udplite": {Slot.SPORTS: "source", Slot.DPORTS: "destination"},
    "sctp": {Slot.SPORTS: "source", Slot.DPORTS: "destination"},
    "dccp": {Slot.SPORTS: "source", Slot.DPORTS: "destination"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """`rule` is the first row's, read by RuleParser; what no slot names holds for every row.

    Every row's address has a mask of ones then zeros, never empty, that reaches into
    equally many 32-bit words; ports are never all ports. `chain` is the first row's.
    """

    rule: Rule
    chain: str
    slots: frozenset[Slot]


def value_of(rule: Rule, slot: Slot) -> Any:
    """Give what a rule has in a slot other than CHAIN; None if it cannot be one."""
    if slot is Slot.TARGET:
        return rule.target.chain if isinstance(rule.target, Jump) else None
    if slot is Slot.COMMENT:
        comments = [match for match in rule.matches if match.NAME == "comment"]
        return getattr(comments[0], "text", None) if len(comments) == 1 else None
    if slot in (Slot.SPORTS, Slot.DPORTS):
        return _ports_of(rule, slot)
    address = rule.source if slot is Slot.SOURCE else rule.destination
    return None if address is None else (address.value, address.mask)


def with_values(rule: Rule, values: Mapping[Slot, Any]) -> Rule:
    """Give the rule with slots (which it has) filled anew; CHAIN changes nothing."""
    changes: dict[str, Any] = {}
    for slot in (Slot.SOURCE, Slot.DESTINATION):
        if slot in values:
            changes[slot] = replace_address(getattr(rule, slot), *values[slot])
    if Slot.TARGET in values:
        assert isinstance(rule.target, Jump)
        changes["target"] = Jump(values[Slot.TARGET], rule.target.goto)
    if not values.keys().isdisjoint((Slot.SPORTS, Slot.DPORTS, Slot.COMMENT)):
        changes["matches"] = tuple([_with_match(match, values) for match in rule.matches])
    return replace(rule, **changes)


def replace_address(address: Address, value: bytes, mask: bytes) -> Address:
    return Address(value, mask, address.inverted)


def unquoted(word: str) -> str:
    """Give what a word means, which may be in quotes as a whole (words.split_line)."""
    return _ESCAPED.sub(r"\1", word[1:-1]) if word[:1] == '"' else word


# A rule that also asks for ports by a match of another kind has no slots of ports.
def _ports_of(rule: Rule, slot: Slot) -> tuple[int, int] | None:
    named = [match for match in rule.matches if match.NAME in PORT_FIELDS]
    if len(named) != 1 or any(match.NAME == "multiport" for match in rule.matches):
        return None
    ports = getattr(named[0], PORT_FIELDS[named[0].NAME][slot])
    if ports is None or isinstance(ports, tuple):
        return ports
    return ports.low, ports.high


def _with_match(match: Any, values: Mapping[Slot, Any]) -> Any:
    if match.NAME == "comment" and Slot.COMMENT in values:
        return replace(match, text=values[Slot.COMMENT])
    changes: dict[str, Any] = {}
    for slot, name in PORT_FIELDS.get(match.NAME, {}).items():
        if slot in values:
            ports = getattr(match, name)
            low, high = values[slot]
            changes[name] = (
                (low, high) if isinstance(ports, tuple) else replace(ports, low=low, high=high)
            )
    return replace(match, **changes) if changes else match
