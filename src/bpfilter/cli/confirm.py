"""`bpfilter confirm`: keep the rules that an `apply --confirm` put in force."""

from __future__ import annotations

import argparse
import sys

from bpfilter.cli import common

EPILOG = """\
Run it over a new connection, which proves that the rules let one be made.

exit status:
  0  the rules stay in force
  1  nothing waits to be confirmed, or it is too late

examples:
  bpfilter confirm
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    parser.epilog = EPILOG


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
