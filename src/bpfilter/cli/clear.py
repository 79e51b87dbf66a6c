"""`bpfilter clear`: take the rules out of force; everything passes again."""

from __future__ import annotations

import argparse
import sys

from bpfilter.cli import common
from bpfilter.cli.usage import UsageError

EPILOG = """\
Takes the programs off the hooks and forgets rules and counters; everything passes again.
Rules in the kernel's own tables are not touched, nor are those of a filter table that is the
kernel's because eBPF cannot enforce it: that is said, with what clears it, and is exit status 1.

Rules in force keep their network namespace, devices and all, after its last process and
its name are gone. --stale takes down those of all such namespaces; one that only an open
socket refers to is among them.

examples:
  bpfilter clear
  bpfilter clear -6 --netns lab
  bpfilter clear --stale
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.add_argument(
        "--stale", action="store_true", help="of namespaces that no process or name refers to"
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    firewall = Firewall(args.netns, wait_s=args.wait)
    if args.stale and (args.family or args.netns):
        raise UsageError("--stale is for all such namespaces, and both families")
    if args.stale:
        for inode in firewall.clear_stale():
            print(f"took down the rules of network namespace {inode}")
        return 0
    families = [args.family] if args.family else common.FAMILIES
    cleared = [firewall.clear(family) for family in families]
    instead = "'{tool} -F' takes the rules out of force there"
    theirs = [common.tell_delegated(firewall, family, instead) for family in families]
    if any(theirs):
        return 1
    if not any(cleared):
        print("bpfilter: nothing was in force", file=sys.stderr)
    return 0
