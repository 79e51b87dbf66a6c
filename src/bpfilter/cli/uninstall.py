"""`bpfilter uninstall`: take away what `bpfilter install` made."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.cli.install import add_root, changing_files, root_of
from bpfilter.errors import Error, ToolError

if TYPE_CHECKING:
    from bpfilter.firewall.live import Firewall

EPILOG = """\
First the filter rules in force in this network namespace are given to the kernel's own
iptables, as by `bpfilter release`; if that fails, nothing is uninstalled. With --keep-rules
they stay in force as eBPF, until the next boot or 'bpfilter clear'.

Then the alternatives are as they were before 'bpfilter install': the one that was chosen by
hand, or the automatic mode; what an administrator has chosen since stays. Links, boot service
and configuration go, if nobody has changed them. Saved rules in /etc/bpfilter stay.

Each step is said; it can be run again if it was interrupted.

examples:
  bpfilter uninstall --dry-run
  bpfilter uninstall
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-rules",
        action="store_true",
        help="leave rules in force as eBPF until the next boot",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would be done, do nothing"
    )
    add_root(parser)
    common.add_wait(parser)
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.iptables.installed import Installed
    from bpfilter.iptables.uninstall import uninstall

    root = root_of(args)
    if Installed.read(root) is None:
        print("bpfilter: nothing that 'bpfilter install' made is here", file=sys.stderr)
        return 0
    if str(root) == "/":
        _let_go_of_rules(args)
    with changing_files(root):
        uninstall(root, print, dry_run=args.dry_run)
    if args.dry_run:
        print("nothing was changed")
    return 0


def _let_go_of_rules(args: argparse.Namespace) -> None:
    from bpfilter.cli.release import release_all
    from bpfilter.firewall.live import Firewall

    firewall = Firewall()
    ours = [
        family
        for family in common.FAMILIES
        if firewall.delegated(family) or firewall.generation(family)
    ]
    _tell_of_others(firewall)
    if not ours:
        return
    names = " and ".join(map(common.family_name, ours))
    if args.keep_rules:
        print(f"rules of {names} stay in force as they are, until the next boot")
    elif args.dry_run:
        print(f"release the filter rules of {names} to the kernel's own iptables")
    else:
        try:
            release_all(ours, None, args.wait)
        except Error as error:
            raise ToolError(
                f"the rules in force cannot be released: {error}; nothing was uninstalled "
                "(--keep-rules leaves them in force until the next boot)"
            ) from error


def _tell_of_others(firewall: Firewall) -> None:
    own = firewall.state_directory()
    pins = own.parent.with_name("bpf")
    found = firewall.kernel.list_directory(pins)
    others = [name for name in found if name.isdigit() and name != own.name]
    if others:
        print(
            f"rules in other network namespaces ({', '.join(others)}) stay in force; "
            "'bpfilter release --netns NAME' or 'bpfilter clear --netns NAME' changes that"
        )
