"""`bpfilter adopt`: take filter rules over from the kernel's own iptables."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bpfilter.cli import common

if TYPE_CHECKING:
    from bpfilter.iptables.adopt import Adopted

EPILOG = """\
Reads the filter rules that iptables-nft or iptables-legacy has in force, enforces them as eBPF
with their counters, and only then clears them there; packets never meet neither. Other tables
(nat, mangle, raw, security) stay where they are.

A filter table with a rule that eBPF cannot enforce stays where it is, as a whole, and
iptables-bpf works on it there; it moves by itself once that rule is gone. If nft and legacy
both have filter rules, --from says which to take.

exit status:
  0  done, though rules may stay with the kernel; that is said
  1  it cannot be done, and what was in force still is
  2  /etc/bpfilter.conf says to refuse what eBPF cannot enforce, and there is such a rule
  4  somebody else holds the xtables lock, or keeps changing the rules

examples:
  bpfilter adopt --dry-run
  bpfilter adopt
  bpfilter adopt -6 --from legacy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.add_argument(
        "--from",
        dest="kind",
        choices=("nft", "legacy"),
        help="take the rules of iptables-nft or of iptables-legacy; the other's stay in force",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="have the kernel verify, change nothing"
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall
    from bpfilter.iptables.adopt import adopt
    from bpfilter.iptables.found import misplaced
    from bpfilter.iptables.home import FilterTable
    from bpfilter.iptables.lock import xtables_lock

    here = Firewall(args.netns)
    here.kernel.require_privileges("take rules over")
    with here.kernel.in_netns(args.netns), xtables_lock(args.wait):
        for family in [args.family] if args.family else common.FAMILIES:
            table = FilterTable(family)
            _tell(adopt(table, args.kind, dry_run=args.dry_run), args.dry_run)
            warnings = [misplaced(table.firewall.kernel, family, table.config)]
            if not args.dry_run and table.owner() is None:
                warnings += table.firewall.warnings(family)
            for warning in filter(None, warnings):
                print(f"bpfilter: warning: {warning}", file=sys.stderr)
    return 0


def _tell(adopted: Adopted, dry_run: bool) -> None:
    name, found = common.family_name(adopted.family), adopted.found
    if found is None:
        print(f"{name}: the kernel has no filter rules of {adopted.family.command}")
        return
    tool = f"{adopted.family.command}-{found.tool.kind}"
    rules = common.count(found.rules, "rule")
    if adopted.kept is None:
        done = "can be enforced" if dry_run else "enforced"
        after = "nothing was changed" if dry_run else "its filter table is empty now"
        print(f"{name}: {rules} of {tool} {done} as eBPF; {after}")
        return
    with_tool = "would stay" if dry_run else "left"
    print(f"{name}: {rules} {with_tool} with {tool}: {adopted.kept.reason}")
    if adopted.kept.rule:
        print(f"    {adopted.kept.rule}")
