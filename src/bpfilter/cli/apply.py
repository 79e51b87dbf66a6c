"""`bpfilter apply`: put a ruleset in force."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.cli.progress import progress
from bpfilter.cli.usage import deadline
from bpfilter.errors import Error, StateError
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from bpfilter.firewall.confirm import Pending
    from bpfilter.firewall.generation import Generation
    from bpfilter.firewall.given import GivenText
    from bpfilter.firewall.live import Firewall

EPILOG = """\
FILE is what iptables-save or ip6tables-save prints, with the filter table alone. It replaces
the rules of its family that bpfilter has in force, all of them or, on any error, none; each
packet meets the old rules or the new ones. Rules that stay keep their counters. Policies that
FILE does not declare (':INPUT DROP [0:0]') stay as they are in force, as with iptables-restore;
where nothing is in force they are ACCEPT. A rule that cannot be enforced exactly as written is
refused, with file, line and reason.

Whether FILE is IPv4 or IPv6 is told by -4 or -6, or else by its first line as iptables-save
writes it, by a name that ends in .v4 or .v6, or by the addresses in it.

If the filter table is the kernel's, because eBPF could not enforce it ('bpfilter status' says so),
FILE takes its place: it is put in force, and then the kernel's filter table is emptied.

With --confirm, the rules before come back by themselves unless they are confirmed in time,
by answering y here or with 'bpfilter confirm' from a new connection, even if the connection
that this command runs over is lost.

examples:
  bpfilter apply rules.v4
  bpfilter apply --dry-run rules.v4           compile, let the kernel verify, attach nothing
  bpfilter apply --confirm 60 rules.v4        roll back unless confirmed within a minute
  iptables-save | bpfilter apply --netns lab -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="a save file, - for stdin")
    common.add_family(parser, "read FILE as")
    common.add_netns(parser)
    common.add_wait(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="compile and verify, attach nothing"
    )
    parser.add_argument(
        "--confirm",
        type=deadline,
        metavar="SECONDS",
        help="roll back unless confirmed in time, here or by 'bpfilter confirm'",
    )
    parser.add_argument(
        "-c", "--counters", action="store_true", help="give new rules the counters in FILE"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say what was done; whole verifier logs"
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    rulesets = []
    for path in args.files:
        with progress(path):
            given = common.read_given(path, args.family)
            if len(args.files) > 1:
                _ = given.readable  # all of them, before any is put in force
            rulesets.append((path, given))
    families = [ruleset.family for _, ruleset in rulesets]
    if len(set(families)) != len(families):
        raise common.FileError("two files of the same family; apply them one after the other")
    firewall = Firewall(args.netns, wait_s=args.wait)
    for path, ruleset in rulesets:
        if args.dry_run:
            _verify(firewall, path, ruleset)
        elif args.confirm:
            status = _apply_confirmed(firewall, path, ruleset, args)
            if status:
                return status
        else:
            _apply(firewall, path, ruleset, args)
    return 0


def _verify(firewall: Firewall, path: str, ruleset: GivenText) -> None:
    with progress(path) as step:
        verified = firewall.verify(ruleset, progress=step)
    sizes = ", ".join(f"{hook} {insns} instructions" for hook, insns, _ in verified.programs)
    print(
        f"{path}: {common.family_name(ruleset.family)}, "
        f"{verified.rules} rules verified by the kernel in {verified.seconds * 1000:.0f} ms "
        f"({sizes}); nothing attached"
    )


def _apply(
    firewall: Firewall, path: str, ruleset: GivenText, args: argparse.Namespace
) -> Generation:
    started = time.monotonic()
    with progress(path) as step:
        generation = firewall.apply(
            ruleset,
            source=path,
            counters=args.counters,
            progress=step,
            otherwise=_their_policies(firewall, ruleset.family, args),
        )
    _take_place(firewall, ruleset.family, args)
    for warning in firewall.warnings(ruleset.family):
        print(f"bpfilter: warning: {warning}", file=sys.stderr)
    if args.verbose:
        took = time.monotonic() - started
        print(
            f"{path}: {common.family_name(ruleset.family)} rules in force "
            f"after {took * 1000:.0f} ms, {generation.cells} cells, "
            f"programs loaded in {generation.load_s * 1000:.0f} ms"
        )
    return generation


# What policies that a file does not declare are where the kernel has the table.
def _their_policies(
    firewall: Firewall, family: Family, args: argparse.Namespace
) -> dict[str, str] | None:
    delegated = firewall.delegated(family)
    if delegated is None:
        return None
    from bpfilter.iptables.home import policies_of, saved
    from bpfilter.iptables.kernel_tool import KernelTool

    with firewall.kernel.in_netns(args.netns):
        return policies_of(saved(KernelTool(delegated.tool), family))


# Of rules that the kernel had, because eBPF could not enforce them: they go now.
def _take_place(firewall: Firewall, family: Family, args: argparse.Namespace) -> None:
    if firewall.delegated(family) is None:
        return
    from bpfilter.iptables.adopt import settle
    from bpfilter.iptables.lock import xtables_lock

    with firewall.kernel.in_netns(args.netns), xtables_lock(args.wait):
        tool = settle(firewall, family)
    if tool:
        print(f"bpfilter: the filter rules of {tool} were replaced", file=sys.stderr)


def _check_can_return(firewall: Firewall, family: Family) -> None:
    delegated = firewall.delegated(family)
    if delegated is not None:
        raise StateError(
            f"the {common.family_name(family)} rules in force are {family.command}-"
            f"{delegated.tool}'s, and could not be brought back; apply without --confirm, or "
            f"test these rules elsewhere first"
        )


def _apply_confirmed(
    firewall: Firewall, path: str, ruleset: GivenText, args: argparse.Namespace
) -> int:
    from bpfilter.firewall import confirm

    _check_can_return(firewall, ruleset.family)
    pending = confirm.start(firewall, ruleset.family, args.confirm)
    try:
        generation = _apply(firewall, path, ruleset, args)
    except Error:
        pending.confirm()
        raise
    pending.arm(generation.applied_at)
    answer = _ask(pending)
    if answer == "y" and pending.confirm():
        print("confirmed; the new rules stay in force")
        return 0
    if answer == "n":
        pending.reject()
    if not pending.wait():
        print("confirmed elsewhere; the new rules stay in force")
        return 0
    print("bpfilter: not confirmed; the rules before are in force again", file=sys.stderr)
    return 1


def _ask(pending: Pending) -> str:
    import select

    from bpfilter.firewall.confirm import POLL_S

    interactive = sys.stdin is not None and sys.stdin.isatty()
    if interactive:
        print("Can you still make new connections to this machine? (y/N) ", end="", flush=True)
    else:
        told = f"run 'bpfilter confirm' within {pending.seconds:.0f} seconds to keep these rules"
        print(told, flush=True)
    while pending.is_open:
        if not interactive:
            time.sleep(POLL_S)
        elif select.select([sys.stdin], [], [], POLL_S)[0]:
            return "y" if sys.stdin.readline().strip().lower() in ("y", "yes") else "n"
    return ""
