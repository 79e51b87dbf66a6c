"""`bpfilter confirm`: keep the rules that an `apply --confirm` put in force."""

from __future__ import annotations

import argparse
import sys

from bpfilter.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    parser.epilog = "example, over a second connection:\n  bpfilter confirm"


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall import confirm
    from bpfilter.firewall.live import Firewall

    directory = Firewall(args.netns).state_directory()
    families = [args.family] if args.family else common.FAMILIES
    found = (confirm.find(directory, family) for family in families)
    confirmed = [pending.confirm() for pending in found if pending is not None]
    if not any(confirmed):
        print("bpfilter: nothing waits to be confirmed", file=sys.stderr)
        return 1
    return 0
