"""`iptables-bpf …`: one command on one table.

    words → Draft (rules/reader.py) → owner of the table → change, check or listing

A table that is not ours goes to the kernel's own iptables with the words as they came.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from bpfilter.errors import RuleSyntaxError, SourceError, ToolError
from bpfilter.iptables.home import TABLE, FilterTable
from bpfilter.iptables.kernel_tool import KernelTool, find_tool
from bpfilter.iptables.lock import xtables_lock
from bpfilter.iptables.messages import KERNEL, PARAMETER, try_help, version_line
from bpfilter.iptables.names import look_up
from bpfilter.rules.assemble import assemble
from bpfilter.rules.draft import Command, Draft
from bpfilter.rules.model import TABLES, Family
from bpfilter.rules.reader import read_words
from bpfilter.rules.registry import Word

if TYPE_CHECKING:
    from bpfilter.firewall.revision import LinesDraft

#: After these a table may be without the rule that kept it from us.
_TAKE_AWAY = frozenset("DFRX")
_LISTING = frozenset("LS")


def run(family: Family, words: list[str]) -> int:
    """Do what a command line says. Raises: Error."""
    table = FilterTable(family)
    try:
        draft = read_words([Word(word) for word in words], family, is_saved=False)
    except SourceError:
        _leave_to_others(table, words, _named_table(words))
        raise
    if draft is None:  # -6 to iptables, -4 to ip6tables
        print(try_help(family.command), file=sys.stderr)
        return PARAMETER
    told = draft.invocation
    if told.asks == "V":
        print(version_line(family.command))
        return 0
    if told.asks:
        from bpfilter.iptables.usage import usage

        sys.stdout.write(usage(family, draft))
        return 0
    if told.wait_interval:
        _check_wait_interval(told.wait_s)
    _leave_to_others(table, words, told.table or TABLE)
    look_up(draft)
    if draft.letter in _LISTING and not draft.zeroes:
        return _list(table, draft, words)
    with xtables_lock(told.wait_s):
        return _change(table, draft, words)


def _check_wait_interval(wait_s: float | None) -> None:
    print("Ignoring deprecated --wait-interval option.", file=sys.stderr)
    if wait_s == 0:
        raise RuleSyntaxError("--wait-interval only makes sense with --wait\n")


# The table that words name which could not be read: the other tool may know what they say.
def _named_table(words: Sequence[str]) -> str:
    for at, word in enumerate(words):
        if word in ("-t", "--table"):
            return words[at + 1] if at + 1 < len(words) else TABLE
        if word.startswith("--table="):
            return word.partition("=")[2]
    return TABLE


def _leave_to_others(table: FilterTable, words: Sequence[str], name: str) -> None:
    if name == TABLE:
        return
    tool = find_tool(table.config)
    if tool is not None:
        tool.become(table.family, "", words)
    if name not in TABLES:
        _no_table(table.family, name)
    raise ToolError(
        f"the {name} table belongs to the kernel's own iptables, and none is installed, or "
        "allowed by kernel-tool in /etc/bpfilter.conf"
    )


def _no_table(family: Family, name: str) -> NoReturn:
    raise UnknownTable(
        f"can't initialize {family.command} table `{name}': Table does not exist "
        "(do you need to insmod?)\n"
        f"Perhaps {family.command} or your kernel needs to be upgraded."
    )


class UnknownTable(ToolError):
    """There is no such table."""

    exit_code = KERNEL


def _list(table: FilterTable, draft: Draft, words: Sequence[str]) -> int:
    owner = table.owner()
    if owner is not None:
        owner.become(table.family, "", words)
    from bpfilter.iptables.show import show

    show(table.firewall, assemble(draft, TABLE, None), draft.invocation, table.family)
    return 0


def _change(table: FilterTable, draft: Draft, words: Sequence[str]) -> int:
    owner = table.owner()
    if owner is not None:
        owner = table.settle(owner)
    if owner is not None:
        return _let(owner, table, draft, words)
    if draft.letter == "C":
        _apply(table.firewall.draft(table.family), draft)
    elif draft.letter in _LISTING:
        _list(table, draft, words)
        _zero(table, Command("Z", draft.chain, draft.argument), draft)
    elif draft.letter == "Z":
        _zero(table, assemble(draft, TABLE, None), draft)
    else:
        _revise(table, draft)
    return 0


# It is told once, though a table that becomes the kernel's is changed anew.
def _revise(table: FilterTable, draft: Draft) -> None:
    is_told = False

    def change(lines: LinesDraft) -> None:
        nonlocal is_told
        _apply(lines, draft, is_told=is_told)
        is_told = True

    table.revise(change, f"{table.family.command} command")


# Does the command on a table, and tells about it.
def _apply(lines: LinesDraft, draft: Draft, *, is_told: bool = False) -> None:
    command = assemble(draft, TABLE, lines.chains)
    if draft.invocation.verbose and not is_told:
        sys.stdout.write(_telling(lines, command, draft))
    lines.apply(command)


def _zero(table: FilterTable, command: Command, draft: Draft) -> None:
    if draft.invocation.verbose:
        sys.stdout.write(_telling(table.firewall.draft(table.family), command, draft))
    table.firewall.zero(table.family, command.chain, int(command.argument or 0))


def _telling(lines: LinesDraft, command: Command, draft: Draft) -> str:
    from bpfilter.rules.telling import tell_command

    return tell_command(command, lines.chains.values(), draft.family)


def _let(owner: KernelTool, table: FilterTable, draft: Draft, words: Sequence[str]) -> int:
    status, output, messages = owner.run(table.family, "", words)
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(output)
        sys.stderr.write(messages.decode("utf-8", "replace"))
    finally:
        if status == 0 and draft.letter in _TAKE_AWAY:
            table.retake(owner)
    return status
