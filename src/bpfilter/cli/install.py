"""`bpfilter install`: put iptables-bpf beside the other iptables, and a boot service."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.cli.usage import UsageError

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """\
Makes links iptables-bpf, iptables-bpf-save, iptables-bpf-restore and the same for ip6tables,
registers them with Debian's alternatives beside iptables-nft and iptables-legacy, writes a
commented /etc/bpfilter.conf if there is none, and enables a boot service that runs
'bpfilter restore --boot' before the network comes up. Each step is said; steps that are done
already are not taken again, so it can be run again whenever it was interrupted.

`iptables` stays what it is, unless --set or --auto is given. Rules in force stay where they
are, too: 'bpfilter adopt' takes them over.

`bpfilter uninstall` gives back what was there. It is kept in /var/lib/bpfilter/installed.json.

examples:
  bpfilter install --dry-run
  bpfilter install --set && bpfilter adopt && bpfilter save
  bpfilter install --root /srv/image --scripts /opt/bpfilter/bin
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--set",
        dest="select",
        action="store_const",
        const="set",
        default="",
        help="have iptables and ip6tables be iptables-bpf and ip6tables-bpf",
    )
    which.add_argument(
        "--auto",
        dest="select",
        action="store_const",
        const="auto",
        help="the same by a priority above nft's, with the alternatives in automatic mode",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would be done, do nothing"
    )
    parser.add_argument(
        "--directory",
        metavar="DIR",
        default="/usr/sbin",
        help="make the links there (default: /usr/sbin)",
    )
    parser.add_argument(
        "--scripts",
        metavar="DIR",
        help="where pip has put the commands; default: where this one is",
    )
    add_root(parser)
    parser.epilog = EPILOG


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        metavar="DIR",
        default="/",
        help="the tree to work in, for packages and images; default: this machine",
    )


def root_of(args: argparse.Namespace) -> Path:
    """Raises: UsageError."""
    from pathlib import Path

    root = Path(args.root).absolute()
    if not root.is_dir():
        raise UsageError(f"{root} is no directory")
    return root


@contextmanager
def changing_files(root: Path) -> Iterator[None]:
    """Say in a sentence what stands in the way of changing files. Raises: InstallError."""
    from bpfilter.iptables.install import InstallError

    try:
        yield
    except OSError as error:
        as_root = "; run it as root" if str(root) == "/" and os.geteuid() else ""
        raise InstallError(f"{error.filename or root}: {error.strerror}{as_root}") from error


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from bpfilter.iptables.install import Plan, install

    scripts = str(Path(args.scripts)) if args.scripts else str(_own_directory())
    for directory in (scripts, args.directory):
        if not directory.startswith("/"):
            raise UsageError(f"{directory} is no absolute path")
    root = root_of(args)
    plan = Plan(root, scripts, args.directory.rstrip("/"), args.select, args.dry_run)
    with changing_files(root):
        install(plan, print)
    if args.dry_run:
        print("nothing was changed")
    elif plan.is_live and args.select:
        _tell_of_rules()
    return 0


# Beside a script that was started by its link, and not where a link to it is.
def _own_directory() -> Path:
    from pathlib import Path

    return Path(sys.argv[0]).resolve().parent


def _tell_of_rules() -> None:
    from bpfilter.firewall.live import Firewall
    from bpfilter.iptables.found import KINDS, filter_rules

    kernel = Firewall().kernel
    has_rules = [
        f"{family.command}-{kind}"
        for family in common.FAMILIES
        for kind in KINDS
        if filter_rules(kernel, family, kind) is not None
    ]
    if has_rules:
        print(
            f"filter rules of {', '.join(has_rules)} are in force, which iptables-bpf does not "
            "show: 'bpfilter adopt' takes them over"
        )
