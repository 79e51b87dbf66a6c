"""A number of each rule that is the same in every spelling of it: equal rules have equal ones.

When a large ruleset is replaced, these say at once which of the lines that went and came
could mean the same; only those are compared (carry.py). Addresses, ports and chains are
added up with a multiplier each, which numpy does for all rules of a table (large.py).
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator

from bpfilter.rules.model import Jump, Rule, Table, Target, Verdict
from bpfilter.rules.shapes import Slot, value_of

_U64 = (1 << 64) - 1
#: Of 32-bit words, the most significant first: the value of an address, then its mask.
ADDRESS_WORDS = 8


def number(text: str) -> int:
    """Give a 64-bit number of a name, or of a few values."""
    data = text.encode("utf-8", "backslashreplace")
    return zlib.crc32(data) << 32 | zlib.crc32(data[::-1], len(data))


def _odd(slot: Slot, word: int) -> int:
    return number(f"{slot} {word}") | 1


#: By slot, and word of it: of addresses, ports (low, high), and names of chains (one).
MULTIPLIERS: dict[Slot, tuple[int, ...]] = {
    Slot.SOURCE: tuple(_odd(Slot.SOURCE, word) for word in range(ADDRESS_WORDS)),
    Slot.DESTINATION: tuple(_odd(Slot.DESTINATION, word) for word in range(ADDRESS_WORDS)),
    Slot.SPORTS: (_odd(Slot.SPORTS, 0), _odd(Slot.SPORTS, 1)),
    Slot.DPORTS: (_odd(Slot.DPORTS, 0), _odd(Slot.DPORTS, 1)),
    Slot.CHAIN: (_odd(Slot.CHAIN, 0),),
    Slot.TARGET: (_odd(Slot.TARGET, 0),),
}


def trait(chain: str, rule: Rule) -> int:
    """Give a rule's number."""
    total = kind(rule) + number(chain) * MULTIPLIERS[Slot.CHAIN][0]
    if isinstance(rule.target, Jump):
        total += number(rule.target.chain) * MULTIPLIERS[Slot.TARGET][0]
    for slot in (Slot.SOURCE, Slot.DESTINATION, Slot.SPORTS, Slot.DPORTS):
        total += part(rule, slot)
    return total & _U64


def traits(table: Table) -> array[int]:
    """Give the numbers of a table's rules, chain after chain."""
    return array("Q", [trait(chain.name, rule) for chain in table.chains for rule in chain.rules])


def part(rule: Rule, slot: Slot) -> int:
    """Give what the value in a slot adds: an address or ports; nothing if there is none."""
    words = zip(MULTIPLIERS[slot], _words(value_of(rule, slot)), strict=False)
    return sum(multiplier * word for multiplier, word in words) & _U64


def kind(rule: Rule) -> int:
    """Give the number of all else that is looked at, which rules of a shape have in common."""
    protocol, source, destination = rule.protocol, rule.source, rule.destination
    seen = (
        protocol and (protocol.number, protocol.inverted),
        rule.in_interface and (rule.in_interface.name, rule.in_interface.inverted),
        rule.out_interface and (rule.out_interface.name, rule.out_interface.inverted),
        source and source.inverted,
        destination and destination.inverted,
        rule.fragment,
        [match.NAME for match in rule.matches],
        _target(rule.target),
    )
    return number(repr(seen))


def _target(target: Target | None) -> str:
    match target:
        case None:
            return ""
        case Jump():
            return "goto" if target.goto else "jump"
        case Verdict():
            return target.name
        case _:
            return target.NAME


def _words(value: tuple[bytes, bytes] | tuple[int, int] | None) -> Iterator[int]:
    for each in value or ():
        if isinstance(each, int):
            yield each
            continue
        for at in range(0, 16, 4):
            yield int.from_bytes(each[at : at + 4])
