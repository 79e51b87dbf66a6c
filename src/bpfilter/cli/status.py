"""`bpfilter status`: what is attached, loaded and in force, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.dataclass import asdict
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from bpfilter.firewall.status import FamilyStatus, Status

EPILOG = """\
Prints, for each family, which rules are in force since when, how many instructions and
bytes of machine code they are at each hook, and the links that hold them there. What needs
attention comes last: a link taken away by force, rules in the kernel's own tables that
packets must pass as well.

exit status:
  0  all is well, or nothing is in force
  1  something needs attention

examples:
  bpfilter status
  bpfilter status --netns lab --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_netns(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from bpfilter.firewall.live import Firewall

    status = Firewall(args.netns).status()
    if args.json:
        print(json.dumps(_plain(status)))
    else:
        _print(status)
    return 1 if any(family.problems for family in status.families) else 0


def _plain(status: Status) -> dict[str, object]:
    data = asdict(status)
    for family in data["families"]:
        family["family"] = "ipv4" if family["family"] == Family.IPV4 else "ipv6"
        for hook in family["hooks"]:
            hook["hook"] = hook["hook"].name
        if family["generation"]:
            for name in ("text", "family"):
                del family["generation"][name]
    return data


def _print(status: Status) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"network namespace {status.netns_inode}, pins in {status.pins}")
    for family in status.families:
        generation = family.generation
        name = "IPv4" if family.family is Family.IPV4 else "IPv6"
        if generation is None and not family.problems:
            console.print(f"[bold]{name}[/bold]: no rules in force")
            continue
        console.print(f"[bold]{name}[/bold]: {escape(_summary(family))}")
        if generation is not None:
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for column in ("hook", "priority", "link", "program", "instructions", "jited bytes"):
                table.add_column(column, justify="left" if column == "hook" else "right")
            loaded = {program.hook: program for program in generation.programs}
            for hook in family.hooks:
                program = loaded[hook.hook.name]
                table.add_row(
                    hook.hook.name,
                    str(hook.priority),
                    "gone" if hook.link_id is None else str(hook.link_id),
                    str(program.id),
                    str(program.instructions),
                    str(program.jited_bytes),
                )
            console.print(table)
        for problem in family.problems:
            console.print(f"[yellow]warning[/yellow]: {escape(problem)}")

    if status.stale:
        console.print(
            "nothing but their rules keeps these network namespaces: "
            f"{', '.join(status.stale)}; 'bpfilter clear --stale' lets them go"
        )


def _summary(family: FamilyStatus) -> str:
    generation = family.generation
    if generation is None:
        return "in a state that needs attention"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(generation.applied_at))
    parts = [
        f"rules of {generation.source or 'a program'} in force since {since}",
        f"{generation.rules} rules in {generation.cells} cells, "
        f"{generation.words} packet words, loaded in {generation.load_s * 1000:.0f} ms",
        f"connection tracking {'used' if generation.needs_conntrack else 'not used'}",
        "nothing delegated to the kernel",
    ]
    if family.aborted:
        parts.append(f"{family.aborted} packets dropped because they could not be evaluated")
    if family.unfinished:
        parts.append("a command was interrupted; the next one that changes rules tidies up")
    return "; ".join(parts)
