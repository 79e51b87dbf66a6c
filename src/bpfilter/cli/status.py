"""`bpfilter status`: what is attached, loaded and in force, and what is wrong with it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.dataclass import asdict
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from bpfilter.firewall.delegated import Delegated
    from bpfilter.firewall.generation import Generation
    from bpfilter.firewall.status import FamilyStatus, Status

COLUMNS = ("hook", "priority", "link", "program", "instructions", "jited bytes")
SEARCHED = ("searched", "rules", "in front", "tuples", "most steps", "bytes")
BOLD, YELLOW = "1", "33"

EPILOG = """\
Prints, for each family, which rules are in force since when, how many instructions and
bytes of machine code they are at each hook, and the links that hold them there. Chains that
are found through an index have the most steps that a search takes a packet, whoever sent it;
the others are straight-line code, or walked rule by rule. A filter table that the kernel has
because of a rule that eBPF cannot enforce is named, with that rule, and so is which of the
kernel's own iptables has the other tables (kernel-tool in /etc/bpfilter.conf). What needs
attention comes last: a link taken away by force, rules in the kernel's own tables that packets
must pass as well.

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
    tool, problem = _kernel_tool()
    if args.json:
        import json

        print(json.dumps({**_plain(status), "kernel_tool": tool}))
    else:
        _print(status)
        if tool and (status.in_force or _is_delegated(status)):
            print(f"other tables: iptables-{tool}, ip6tables-{tool}")
    if problem:
        print(f"bpfilter: {problem}", file=sys.stderr)
    return 1 if problem or any(family.problems for family in status.families) else 0


# Which of the kernel's own has the other tables, and what is wrong with the configuration.
def _kernel_tool() -> tuple[str | None, str]:
    from bpfilter.errors import ConfigError
    from bpfilter.iptables.config import read_config
    from bpfilter.iptables.kernel_tool import find_tool

    try:
        tool = find_tool(read_config())
    except ConfigError as error:
        return None, str(error)
    return None if tool is None else tool.kind, ""


def _is_delegated(status: Status) -> bool:
    return any(family.delegated is not None for family in status.families)


def _plain(status: Status) -> dict[str, object]:
    data = asdict(status)
    for family in data["families"]:
        family["family"] = "ipv4" if family["family"] == Family.IPV4 else "ipv6"
        for hook in family["hooks"]:
            hook["hook"] = hook["hook"].name
        if family["generation"]:
            del family["generation"]["family"]
    return data


def _print(status: Status) -> None:
    print(f"network namespace {status.netns_inode}, pins in {status.pins}")
    for family in status.families:
        name = _bold(common.family_name(family.family))
        if family.delegated is not None and family.generation is None:
            _print_delegated(family, family.delegated)
        elif family.generation is None and not family.problems:
            print(f"{name}: no rules in force")
        else:
            print(f"{name}: {_summary(family)}")
        if family.generation is not None:
            _print_hooks(family, family.generation)
        for problem in family.problems:
            print(f"{common.styled('warning', YELLOW, sys.stdout)}: {problem}")

    if status.stale:
        print(
            "nothing but their rules keeps these network namespaces: "
            f"{', '.join(status.stale)}; 'bpfilter clear --stale' lets them go"
        )


def _print_delegated(family: FamilyStatus, delegated: Delegated) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(delegated.since))
    name = _bold(common.family_name(family.family))
    tool = f"{family.family.command}-{delegated.tool}"
    print(f"{name}: rules of {tool} in force since {since}: {delegated.reason}")
    if delegated.rule:
        print(f"    {delegated.rule}")


def _print_hooks(family: FamilyStatus, generation: Generation) -> None:
    loaded = {program.hook: program for program in generation.programs}
    rows: list[Sequence[object]] = [COLUMNS]
    for hook in family.hooks:
        program = loaded[hook.hook.name]
        link = "gone" if hook.link_id is None else hook.link_id
        sizes = (program.instructions, program.jited_bytes)
        rows.append((hook.hook.name, hook.priority, link, program.id, *sizes))
    head, *lines = _aligned(rows)
    print(_bold(head), *lines, sep="\n")
    _print_structure(generation)


def _print_structure(generation: Generation) -> None:
    if generation.straight:
        print("all chains are straight-line code")
        return
    if generation.searched:
        rows: list[Sequence[object]] = [SEARCHED]
        rows += [
            (
                each.chain,
                each.rules,
                each.in_front,
                each.tuples,
                each.steps,
                each.bytes,
            )
            for each in generation.searched
        ]
        head, *lines = _aligned(rows)
        print(_bold(head), *lines, sep="\n")
    print(f"{'other' if generation.searched else 'all'} chains are walked rule by rule")


def _aligned(rows: Sequence[Sequence[object]]) -> list[str]:
    # The first column to the left, the others, which are numbers, to the right.
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{first!s:<{widths[0]}}"]
        cells += [f"{cell!s:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return lines


def _bold(text: str) -> str:
    return common.styled(text, BOLD, sys.stdout)


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
