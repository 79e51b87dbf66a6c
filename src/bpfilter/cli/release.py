"""`bpfilter release`: give filter rules back to the kernel's own iptables."""

from __future__ import annotations

import argparse
import os
import sys

from bpfilter.cli import common
from bpfilter.rules.model import Family

EPILOG = """\
Puts the filter rules that are in force as eBPF in force with iptables-nft or iptables-legacy,
with their counters, and only then takes the eBPF programs off their hooks; packets never meet
neither. It is `bpfilter adopt` the other way. Which of the two gets them is kernel-tool in
/etc/bpfilter.conf, by default nft if that is installed; --to says otherwise.

If `iptables` is iptables-bpf on this machine, it begins with empty rules then:
`bpfilter uninstall` changes that, and releases the rules itself.

examples:
  bpfilter release
  bpfilter release -4 --to legacy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.add_argument(
        "--to",
        dest="kind",
        choices=("nft", "legacy"),
        help="give them to iptables-nft or to iptables-legacy",
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    here = Firewall(args.netns)
    here.kernel.require_privileges("release rules")
    families = [args.family] if args.family else common.FAMILIES
    with here.kernel.in_netns(args.netns):
        release_all(families, args.kind, args.wait)
    if not args.netns:
        _tell_who_is_iptables()
    return 0


def _tell_who_is_iptables() -> None:
    from shutil import which

    found = which("iptables")
    if found and os.path.realpath(found).endswith("/iptables-bpf"):
        print(
            f"bpfilter: warning: {found} still is iptables-bpf, which begins with empty rules "
            "beside those released; 'bpfilter uninstall' changes that",
            file=sys.stderr,
        )


def release_all(families: list[Family], kind: str | None, wait_s: float) -> None:
    """Release each, and say so."""
    from bpfilter.iptables.home import FilterTable
    from bpfilter.iptables.lock import xtables_lock
    from bpfilter.iptables.release import release

    with xtables_lock(wait_s):
        for family in families:
            released = release(FilterTable(family), kind)
            name = common.family_name(family)
            if released.tool is None:
                print(f"{name}: no filter rules of bpfilter's are in force", file=sys.stderr)
                continue
            tool = f"{family.command}-{released.tool.kind}"
            if released.rules is None:
                print(f"{name}: the filter rules are {tool}'s, and stay so")
            else:
                rules = common.count(released.rules, "rule")
                print(f"{name}: {rules} given to {tool}; nothing is enforced as eBPF any more")
