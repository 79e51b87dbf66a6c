"""`bpfilter list`: print the rules in force."""

from __future__ import annotations

import argparse
import sys

from bpfilter.cli import common
from bpfilter.errors import RuleError
from bpfilter.rules.model import Family, Table

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
    tables = [
        (family, table) for family in families if (table := firewall.table(family)) is not None
    ]
    if args.chain is not None:
        for _, table in tables:
            if all(chain.name != args.chain for chain in table.chains):
                raise RuleError(f"no chain {args.chain} in table filter")
    if args.json:
        import json

        print(json.dumps([table_json(family, table, args.chain) for family, table in tables]))
        return 0
    if not tables:
        print("bpfilter: no rules are in force", file=sys.stderr)
    for index, (family, table) in enumerate(tables):
        if index and not args.save:
            print()
        sys.stdout.write(_text(family, table, args))
    return 0


def _text(family: Family, table: Table, args: argparse.Namespace) -> str:
    from bpfilter.rules.listing import list_rules, list_table
    from bpfilter.rules.model import Ruleset
    from bpfilter.rules.saved import format_saved

    if args.save:
        return format_saved(Ruleset(family, (table,)), counters=True)
    if args.verbose:
        return list_table(table, family, args.chain, exact=True, line_numbers=args.line_numbers)
    return list_rules(table, family, args.chain)


def table_json(family: Family, table: Table, only: str | None = None) -> dict[str, object]:
    """Give a table as plain data: chains, rules as `-A` lines, counters."""
    from bpfilter.rules.options import format_rule

    return {
        "family": "ipv4" if family is Family.IPV4 else "ipv6",
        "table": table.name,
        "chains": [
            {
                "name": chain.name,
                "policy": chain.policy,
                "packets": chain.counters.packets,
                "bytes": chain.counters.bytes,
                "rules": [
                    {
                        "number": number,
                        "rule": format_rule(rule, chain.name, family),
                        "packets": rule.counters.packets,
                        "bytes": rule.counters.bytes,
                    }
                    for number, rule in enumerate(chain.rules, 1)
                ],
            }
            for chain in table.chains
            if only is None or chain.name == only
        ],
    }
