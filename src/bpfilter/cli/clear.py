"""`bpfilter clear`: take the rules out of force; everything passes again."""

from __future__ import annotations

import argparse
import sys

from bpfilter.cli import common

EPILOG = """\
Takes the programs off the hooks and forgets rules and counters; everything passes again.
Rules in the kernel's own tables are not touched.

examples:
  bpfilter clear
  bpfilter clear -6 --netns lab
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    firewall = Firewall(args.netns, wait_s=args.wait)
    families = [args.family] if args.family else common.FAMILIES
    cleared = [firewall.clear(family) for family in families]
    if not any(cleared):
        print("bpfilter: nothing was in force", file=sys.stderr)
    return 0
