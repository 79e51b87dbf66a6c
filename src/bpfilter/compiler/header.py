"""The part of a rule every rule has, as a predicate, in the order x_tables asks it.

Order and meaning: ip_packet_match (net/ipv4/netfilter/ip_tables.c) and
ip6_packet_match (net/ipv6/netfilter/ip6_tables.c). The IPv6 walk to the
upper-layer header happens only for rules with `-p`, and drops packets whose
headers it cannot follow.
"""

from __future__ import annotations

from bpfilter.errors import RefusedError
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.plan.nodes import TRUE, All, Guard, Not, Predicate, equals, inverted_if, masked_words
from bpfilter.rules.model import Address, Family, Interface, Match, Rule
from bpfilter.rules.options import parse_rule
from bpfilter.rules.registry import Context, Word

IFNAMSIZ = 16


def condition(rule: Rule, family: Family) -> Predicate:
    """Give all that a rule asks: header first, then each match from left to right.

    Raises: RefusedError, from the extension that cannot be enforced.
    """
    parts: list[Predicate] = []
    if rule.source:
        parts.append(_address(fields.SADDR, rule.source))
    if rule.destination:
        parts.append(_address(fields.DADDR, rule.destination))
    for field, named in ((fields.IIF, rule.in_interface), (fields.OIF, rule.out_interface)):
        if named:
            parts.append(interface(field, named))
    if family is Family.IPV6 and (rule.protocol or rule.any_protocol):
        parts.append(Guard(fields.PROTO_GUARD))
    if rule.protocol:
        wanted = equals(fields.PROTO, rule.protocol.number)
        parts.append(inverted_if(rule.protocol.inverted, wanted))
    if rule.fragment is not None:
        parts.append(equals(fields.FRAGMENT, int(rule.fragment)))
    for match in rule.matches:
        _refuse_lossy(match.unsaved(), f"match '{match.NAME}'")
        asked = match.predicate(family, rule)
        if _is_never(asked) and _is_lost(match, rule, family):
            _refuse_lossy(_ALL_EXCLUDED, f"match '{match.NAME}'")
        parts.append(asked)
    return All(tuple(part for part in parts if part != TRUE))


# `! --dport :` never matches, and iptables-save writes it back as always; others that never
# match, `! -i +` and `! --mark 0/0` for two, it writes as they are.
_ALL_EXCLUDED = "that everything is excluded"


def _is_never(asked: Predicate) -> bool:
    return asked == Not(TRUE) or (isinstance(asked, All) and Not(TRUE) in asked.parts)


def _is_lost(match: Match, rule: Rule, family: Family) -> bool:
    # What is printed of the match reads back as another one.
    protocol = rule.protocol
    words = [] if protocol is None or protocol.inverted else ["-p", str(protocol.number)]
    words += ["-m", match.NAME, *match.format(family)]
    _, again = parse_rule([Word(word) for word in ("-A", "c", *words)], Context(family))
    return again.matches != (match,)


def _refuse_lossy(lost: str, what: str) -> None:
    # A ruleset in force is kept, listed and rolled back to as iptables-save writes it.
    if lost:
        raise RefusedError(f"{what}: iptables-save loses {lost}; write the rule another way")


def _address(field: Field, address: Address) -> Predicate:
    return inverted_if(address.inverted, masked_words(field, address.value, address.mask))


def interface(field: Field, wanted: Interface) -> Predicate:
    """Compare a name with its NUL, or a prefix without; masks as xtables_parse_interface's."""
    name = wanted.name.encode("utf-8", "surrogateescape")
    if name.endswith(b"+"):
        name = name[:-1]
        mask = b"\xff" * len(name)
    else:
        mask = b"\xff" * min(len(name) + 1, IFNAMSIZ)
    value = name.ljust(IFNAMSIZ, b"\0")
    return inverted_if(wanted.inverted, masked_words(field, value, mask.ljust(IFNAMSIZ, b"\0")))
