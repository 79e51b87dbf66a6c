"""What iptables says of a command it does, with `-v`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bpfilter.rules.address import format_listed
from bpfilter.rules.draft import Command
from bpfilter.rules.edit import ChainDraft
from bpfilter.rules.listing import Columns, Form, target_name
from bpfilter.rules.model import Address, Family, Interface, Rule
from bpfilter.rules.names import NUMBERS

_VERBS = {"F": "Flushing", "Z": "Zeroing", "X": "Deleting"}


def tell_command(command: Command, chains: Iterable[ChainDraft[Any]], family: Family) -> str:
    """Give what is printed of a command on a table with these chains."""
    verb = _VERBS.get(command.letter)
    if verb is None or command.argument:
        return "".join(tell_rule(rule, family) for rule in command.rules)
    named = [command.chain] if command.chain else [chain.name for chain in chains]
    if command.letter == "X" and not command.chain:
        named = [chain.name for chain in chains if chain.policy is None]
    return "".join(f"{verb} chain `{name}'\n" for name in named)


def tell_rule(rule: Rule, family: Family) -> str:
    """Give a rule as print_firewall does with FMT_PRINT_RULE (iptables/iptables.c)."""
    protocol = rule.protocol
    inverted = "!" if protocol is not None and protocol.inverted else " "
    name = NUMBERS.protocol(0 if protocol is None else protocol.number)
    source, destination = _address(rule.source, family), _address(rule.destination, family)
    return (
        f"{target_name(rule.target)} {inverted}{name} opt {_fragment(rule.fragment)} "
        f"in {_interface(rule.in_interface)} out {_interface(rule.out_interface)} "
        f"{_sign(rule.source)}{source} {_sign(rule.destination)}-> {destination}  "
        f"{Columns(family, Form()).description(rule)}\n"
    )


def _fragment(fragment: bool | None) -> str:
    return "--" if fragment is None else "-f" if fragment else "!f"


def _interface(interface: Interface | None) -> str:
    return "*" if interface is None else ("!" if interface.inverted else "") + interface.name


def _sign(address: Address | None) -> str:
    return "!" if address is not None and address.inverted else " "


def _address(address: Address | None, family: Family) -> str:
    if address is None:
        return "0.0.0.0/0" if family is Family.IPV4 else "::/0"
    return format_listed(address.value, address.mask)
