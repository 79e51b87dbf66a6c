"""`-L` and `-S`: our filter table, as iptables lists it."""

from __future__ import annotations

import sys

from bpfilter.errors import TableError
from bpfilter.firewall.live import Firewall
from bpfilter.rules.draft import Command, Invocation
from bpfilter.rules.edit import NO_CHAIN, TableDraft
from bpfilter.rules.listing import list_rules, list_table
from bpfilter.rules.model import Family, Table
from bpfilter.rules.written import Written, write_table


def show(firewall: Firewall, command: Command, told: Invocation, family: Family) -> None:
    """Print what is asked for. Raises: TableError if there is no such chain."""
    if command.letter == "S":
        chains = firewall.written(family) or write_table(empty_table(family), family)
        named = [each for each in chains if command.chain in ("", each.chain.name)]
        _need(command.chain, bool(named))
        sys.stdout.write(list_rules(named, told.verbose > 0))
        return
    table = firewall.table(family) or empty_table(family)
    _need(command.chain, any(command.chain in ("", chain.name) for chain in table.chains))
    sys.stdout.write(
        list_table(
            table,
            family,
            command.chain or None,
            verbose=told.verbose > 0,
            exact=told.exact,
            line_numbers=told.line_numbers,
        )
    )


def empty_table(family: Family) -> Table:
    """Give a filter table nobody has touched."""
    return TableDraft("filter", family).table()


def written(firewall: Firewall, family: Family) -> list[Written]:
    """Give the chains in force as lines, those of an empty table if there are none."""
    return firewall.written(family) or write_table(empty_table(family), family)


def _need(chain: str, found: bool) -> None:
    if not found:
        raise TableError(NO_CHAIN, f"{NO_CHAIN}: `{chain}'")
