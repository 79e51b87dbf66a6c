"""`-L` and `-S`: our filter table, as iptables lists it."""

from __future__ import annotations

import sys

from bpfilter.errors import TableError
from bpfilter.firewall.live import Firewall
from bpfilter.firewall.names import MachineNames
from bpfilter.rules.draft import NO_CHAIN, Command, Invocation
from bpfilter.rules.edit import TableDraft
from bpfilter.rules.listing import Form, list_rules, list_table
from bpfilter.rules.model import Family, Table
from bpfilter.rules.names import NUMBERS
from bpfilter.rules.written import Written, write_table


def show(firewall: Firewall, command: Command, told: Invocation, family: Family) -> None:
    """Print what is asked for. Raises: TableError if there is no such chain."""
    verbose = told.verbose > 0
    chain, number = command.chain or None, int(command.argument or 0)
    try:
        if command.letter == "S":
            chains = written(firewall, family, counters=verbose)
            text = list_rules(chains, chain, number, counters=verbose)
        else:
            names = NUMBERS if told.numeric else MachineNames()
            form = Form(verbose, told.exact, told.line_numbers, names)
            listed = firewall.listed(family, form, chain, number)
            if listed is None:
                listed = list_table(empty_table(family), family, chain, number, form=form)
            text = listed
    except KeyError:
        raise TableError(NO_CHAIN, f"{NO_CHAIN}: `{chain}'") from None
    sys.stdout.write(text)


def empty_table(family: Family) -> Table:
    """Give a filter table nobody has touched."""
    return TableDraft("filter", family).table()


def written(firewall: Firewall, family: Family, *, counters: bool = False) -> list[Written]:
    """Give the chains in force as lines, those of an empty table if there are none."""
    found = firewall.written(family, counters=counters)
    return write_table(empty_table(family), family) if found is None else found
