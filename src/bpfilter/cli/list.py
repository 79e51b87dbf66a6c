"""`bpfilter list`: print the rules in force."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.errors import RuleError
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from bpfilter.firewall.live import Firewall
    from bpfilter.rules.written import Written

TABLE = "filter"

EPILOG = """\
Without options, prints what 'iptables -S' prints; with -v what 'iptables -nvL -x' prints.
With both families in force, IPv4 comes first and an empty line between; -4 or -6 chooses.

examples:
  bpfilter list INPUT
  bpfilter list -v --line-numbers
  bpfilter list --save > rules.v4             with counters, for 'bpfilter apply -c'
  bpfilter list --json | jq '.[].chains[].rules[] | select(.packets == 0)'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("chain", nargs="?", metavar="CHAIN", help="only this chain")
    common.add_family(parser, "only")
    common.add_netns(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-v", "--verbose", action="store_true", help="a table with counters")
    form.add_argument("--save", action="store_true", help="as iptables-save -c")
    form.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--line-numbers", action="store_true", help="with -v: number the rules")
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    firewall = Firewall(args.netns)
    families = [args.family] if args.family else common.FAMILIES
    listings = [
        listing for family in families if (listing := _listing(firewall, family, args)) is not None
    ]
    if args.json:
        print(f"[{', '.join(listings)}]")
    elif listings:
        sys.stdout.write(("" if args.save else "\n").join(listings))
    instead = "'{tool} -S' lists it"
    theirs = [common.tell_delegated(firewall, family, instead) for family in families]
    if not (args.json or listings or any(theirs)):
        print("bpfilter: no rules are in force", file=sys.stderr)
    return 0


# What is printed of one family, None if nothing of it is in force.
def _listing(firewall: Firewall, family: Family, args: argparse.Namespace) -> str | None:
    if args.verbose:
        from bpfilter.rules.listing import Form

        form = Form(exact=True, line_numbers=args.line_numbers)
        try:
            return firewall.listed(family, form, args.chain)
        except KeyError:
            raise _no_chain(args.chain) from None
    chains = firewall.written(family)
    if chains is None:
        return None
    shown = [each for each in chains if args.chain in (None, each.chain.name)]
    if not shown:
        raise _no_chain(args.chain)
    if args.save:
        from bpfilter.rules.saved import format_table

        return format_table(TABLE, chains, counters=True)
    if args.json:
        import json

        return json.dumps(plain_data(family, shown))
    from bpfilter.rules.listing import list_rules

    return list_rules(shown)


def _no_chain(name: str) -> RuleError:
    return RuleError(f"no chain {name} in table {TABLE}")


def plain_data(family: Family, chains: Sequence[Written]) -> dict[str, object]:
    """Give chains as plain data: policies, rules as `-A` lines, counters."""
    return {
        "family": "ipv4" if family is Family.IPV4 else "ipv6",
        "table": TABLE,
        "chains": [
            {
                "name": each.chain.name,
                "policy": each.chain.policy,
                "packets": each.chain.counters.packets,
                "bytes": each.chain.counters.bytes,
                "rules": [
                    {"number": number, "rule": line, "packets": packets, "bytes": octets}
                    for number, (line, packets, octets) in enumerate(each.counted(), 1)
                ],
            }
            for each in chains
        ],
    }
