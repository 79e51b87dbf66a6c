"""`bpfilter restore`: put saved rules back, as at boot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.cli.places import add_places, places
from bpfilter.errors import Error
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from pathlib import Path

    from bpfilter.iptables.kept import Kept

EPILOG = """\
Puts in force what `bpfilter save` has written: the filter table as eBPF, or, with a rule that
cannot be, by the kernel's own iptables, and the other tables by that in any case. Each table is
replaced as a whole or stays as it is; the filter table comes first, and the others are tried
even if one fails. Counters that are in the files come back.

--boot is for the boot service. A file that is not there is no fault then, unless
/etc/bpfilter.conf says boot-failure = closed: with that, a family whose rules cannot all be put
in force, or are not there, is closed: nothing passes but on loopback, until rules are applied.

exit status:
  0  the rules are in force
  1  something else, such as a table that the kernel's own iptables refused
  2  the files or the command line are wrong
  4  somebody else holds the xtables lock

examples:
  bpfilter restore
  bpfilter restore /root/rules/
  bpfilter restore -4 /root/rules.v4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_places(parser)
    common.add_family(parser, "only")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.add_argument(
        "--boot", action="store_true", help="as the boot service: see boot-failure above"
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    chosen = places(args.places, args.family)
    kernel = Firewall().kernel
    with kernel.in_netns(args.netns):
        if args.boot:
            return _boot(chosen, args.wait)
        kernel.require_privileges("change the firewall")
        return _restore(chosen, args.wait)


def _restore(chosen: Mapping[Family, Path], wait_s: float) -> int:
    from bpfilter.iptables.kept import restore

    every = [_read(family, path) for family, path in chosen.items()]  # before any is in force
    return max(restore(each, wait_s) for each in every)


def _read(family: Family, path: Path) -> Kept:
    from bpfilter.iptables.kept import Kept

    return Kept(family, str(path), common.read_input(str(path)))


def _boot(chosen: Mapping[Family, Path], wait_s: float) -> int:
    closes = _closes()
    status = 0
    for family, path in chosen.items():
        if not closes and not path.exists():
            continue
        failed = _try(family, path, wait_s)
        status = failed or status
        if failed and closes:
            _close(family)
    return status


# Every fault of one family: the other is tried anyway.
def _try(family: Family, path: Path, wait_s: float) -> int:
    from bpfilter.cli.main import report
    from bpfilter.iptables.kept import restore

    try:
        return restore(_read(family, path), wait_s)
    except Error as error:
        report(error)
        return error.exit_code


# A configuration that cannot be read does not say to leave everything open.
def _closes() -> bool:
    from bpfilter.cli.main import report
    from bpfilter.errors import ConfigError
    from bpfilter.iptables.config import read_config

    try:
        return read_config().boot_failure == "closed"
    except ConfigError as error:
        report(error)
        return True


def _close(family: Family) -> None:
    from bpfilter.iptables.kept import close

    by = close(family)
    print(
        f"bpfilter: {common.family_name(family)} is closed but for loopback, by {by}, because "
        "its saved rules are not in force (boot-failure in /etc/bpfilter.conf)",
        file=sys.stderr,
    )
