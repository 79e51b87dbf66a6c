"""`bpfilter zero`: set counters to zero."""

from __future__ import annotations

import argparse

from bpfilter.cli import common

EPILOG = """\
All rules' and policies' counters are set to zero at once; packets counted meanwhile are not
lost.

examples:
  bpfilter zero
  bpfilter zero -4 --netns lab
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    firewall = Firewall(args.netns, wait_s=args.wait)
    for family in [args.family] if args.family else common.FAMILIES:
        firewall.zero(family)
        common.tell_delegated(firewall, family, "'{tool} -Z' zeroes its counters")
    return 0
