"""`bpfilter save`: write the rules of all tables to files."""

from __future__ import annotations

import argparse

from bpfilter.cli import common
from bpfilter.cli.places import add_places, places

EPILOG = """\
Writes what iptables-bpf-save and ip6tables-bpf-save print: the filter table, and the tables of
the kernel's own iptables. The files are replaced as wholes, or on any error none of them is,
and only root may read them. `bpfilter restore` puts them back, at boot as well.

Rules in force that are not bpfilter's would be missing there, so then nothing is written.

examples:
  bpfilter save
  bpfilter save --counters /root/rules/
  bpfilter save -6 /root/rules.v6
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_places(parser)
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.add_argument("-c", "--counters", action="store_true", help="with all rules' counters")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was written")
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall
    from bpfilter.iptables.kept import save

    chosen = places(args.places, args.family)
    kernel = Firewall().kernel
    kernel.require_privileges("read the firewall")
    with kernel.in_netns(args.netns):
        save(chosen, counters=args.counters, wait_s=args.wait)
    if args.verbose:
        for path in chosen.values():
            print(path)
    return 0
