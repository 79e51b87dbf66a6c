"""`bpfilter zero`: set counters to zero."""

from __future__ import annotations

import argparse

from bpfilter.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.epilog = "example:\n  bpfilter zero -4"


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    firewall = Firewall(args.netns, wait_s=args.wait)
    for family in [args.family] if args.family else common.FAMILIES:
        firewall.zero(family)
    return 0
