"""Where a filter table is enforced: as eBPF, or, with a rule that cannot be, by the kernel.

A table moves as a whole, with its counters, so that the order of its rules stays what it is;
`firewall/delegated.py` has the steps. Whoever changes a table here holds the xtables lock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from bpfilter.errors import (
    BusyError,
    Error,
    RefusedError,
    SourceError,
    StateError,
    ToolError,
    UnsupportedError,
)
from bpfilter.firewall.lines import encode
from bpfilter.firewall.live import Firewall
from bpfilter.iptables.config import Config, read_config
from bpfilter.iptables.kernel_tool import KernelTool, find_tool
from bpfilter.rules.model import TABLES, Family

if TYPE_CHECKING:
    from bpfilter.firewall.delegated import Delegated
    from bpfilter.firewall.given import GivenText
    from bpfilter.firewall.revision import LinesDraft

#: The one table that is ours; others always are the kernel's.
TABLE = "filter"


class FilterTable:
    """The filter table of a family in this network namespace."""

    def __init__(self, family: Family, firewall: Firewall | None = None) -> None:
        self.family = family
        self.firewall = firewall or Firewall()

    @cached_property
    def config(self) -> Config:
        """Raises: ConfigError."""
        return read_config()

    def owner(self) -> KernelTool | None:
        """Give the tool that has the table, None if it is ours."""
        delegated = self.firewall.delegated(self.family)
        return None if delegated is None else KernelTool(delegated.tool)

    def settle(self, owner: KernelTool) -> KernelTool | None:
        """Undo what an interrupted move left, and say anew who has the table."""
        self.firewall.settle(self.family, lambda: empty(owner, self.family))
        return self.owner()

    def revise(self, change: Callable[[LinesDraft], None], source: str) -> None:
        """Change the table, which is ours, and may become the kernel's by that.

        Raises: what `change` raises; RefusedError where nobody can have it.
        """
        self._begin()
        try:
            self.firewall.revise(self.family, change, source=source)
        except (RefusedError, UnsupportedError) as refusal:
            tool = self._other(refusal)
            to = because_of(tool, refusal)

            def give_all(text: bytes) -> None:
                try:
                    give(tool, self.family, text)
                except KernelRefused as error:
                    raise _of_a_command(error, self.family) from None

            self.firewall.hand_over(self.family, change, to, give_all)
            self._tell(to)

    def restore(self, given: GivenText, *, counters: bool, owner: KernelTool | None) -> None:
        """Put a whole table in force, whoever has it now. Raises: as `revise`, SourceError.

        Policies that it does not declare stay what they are.
        """
        otherwise = None
        if owner is None:
            self._begin()
        else:
            otherwise = policies_of(saved(owner, self.family))
        try:
            self.firewall.restore(given, counters=counters, otherwise=otherwise)
        except (RefusedError, UnsupportedError) as refusal:
            words = ["-c"] if counters else []
            if owner is not None:
                give(owner, self.family, _declaring(given.raw, otherwise or {}), words)
                return
            tool = self._other(refusal)
            to = because_of(tool, refusal)

            def give_whole(before: bytes) -> None:
                text = _declaring(given.raw, policies_of(before))
                give(tool, self.family, text, words)

            self.firewall.hand_over(self.family, lambda _: None, to, give_whole)
            self._tell(to)
        else:
            if owner is not None:
                self.settle(owner)

    def retake(self, owner: KernelTool) -> None:
        """Take the table back if it can be enforced now; else it stays where it is."""
        delegated = self.firewall.delegated(self.family)
        text = saved(owner, self.family)
        if delegated is None or encode(delegated.rule) in text.split(b"\n"):
            return
        from bpfilter.iptables.taking import take

        try:
            take(self.firewall, self.family, owner, counted(owner, self.family))
        except (SourceError, UnsupportedError, BusyError):
            return

    # Packets would have to pass rules that are nobody's here, and that no listing shows.
    def _begin(self) -> None:
        try:
            if self.firewall.generation(self.family) is not None:
                return
        except StateError:  # of ours that are in force: a whole table may still replace them
            return
        name, kernel = self.family.command, self.firewall.kernel
        # A policy for each base chain and the closing entry are no rules.
        if kernel.legacy_entries(self.family, TABLE) > len(TABLES[TABLE]) + 1:
            kind = "legacy"
        elif (self.family, TABLE) in kernel.nft_rule_tables():
            kind = "nft"
        else:
            return
        raise ToolError(
            f"{name}-{kind} has filter rules, which packets would have to pass as well; "
            f"'bpfilter adopt' takes them over first, or '{name}-{kind} -F' removes them"
        )

    # Who may have what we cannot enforce.
    def _other(self, refusal: RefusedError | UnsupportedError) -> KernelTool:
        tool = find_tool(self.config) if self.config.unenforceable == "delegate" else None
        if tool is None:
            if isinstance(refusal, RefusedError):
                refusal.hint = (
                    "/etc/bpfilter.conf says to refuse what eBPF cannot enforce"
                    if self.config.unenforceable == "refuse"
                    else "and no iptables of the kernel's is installed, or configured"
                )
            raise refusal
        if has_rules(saved(tool, self.family)):
            raise ToolError(
                f"{_reason(refusal)}, so the table would go to {self.family.command}-{tool.kind}, "
                "which has filter rules of its own; 'bpfilter adopt' takes these over first"
            ) from refusal
        return tool

    def _tell(self, to: Delegated) -> None:
        if os.isatty(2):
            print(
                f"{self.family.command}: eBPF cannot enforce this yet ({to.reason}); the filter "
                f"table is now {self.family.command}-{to.tool}'s",
                file=sys.stderr,
            )


def saved(tool: KernelTool, family: Family) -> bytes:
    """Give the filter table that the kernel has, as iptables-save prints it."""
    return _checked(tool, family, "save", ["-t", TABLE])


def counted(tool: KernelTool, family: Family) -> bytes:
    """Give the same with counters."""
    return _checked(tool, family, "save", ["-c", "-t", TABLE])


def give(tool: KernelTool, family: Family, text: bytes, words: list[str] | None = None) -> None:
    """Let the kernel have a filter table, `words` by default with its counters."""
    _checked(tool, family, "restore", ["-c"] if words is None else words, text)


def empty(tool: KernelTool, family: Family) -> None:
    """Take all rules, chains and policies out of the kernel's filter table."""
    declared = "".join(f":{chain} ACCEPT [0:0]\n" for chain in TABLES[TABLE])
    give(tool, family, f"*{TABLE}\n{declared}COMMIT\n".encode())


def has_rules(text: bytes) -> bool:
    """Say whether a saved table does anything."""
    return any(
        line.startswith(b"-A") or (line.startswith(b":") and b" DROP " in line)
        for line in text.split(b"\n")
    )


def policies_of(text: bytes) -> dict[str, str]:
    """Give the policies that a saved table declares."""
    declared = (line[1:].split()[:2] for line in text.split(b"\n") if line[:1] == b":")
    return {name.decode(): policy.decode() for name, policy in declared if policy != b"-"}


# A text that also says the policies it leaves as they are, for a tool that would set them to
# ACCEPT; at its end, so that lines keep their numbers.
def _declaring(text: bytes, policies: dict[str, str]) -> bytes:
    said = policies_of(text)
    added = "".join(
        f":{name} {policy} [0:0]\n" for name, policy in policies.items() if name not in said
    )
    before, commit, after = text.rpartition(b"COMMIT")
    return before + added.encode() + commit + after


def because_of(tool: KernelTool, refusal: Error) -> Delegated:
    """Say that a tool has the table, and which rule is why; none if it is this kernel."""
    from bpfilter.firewall.delegated import Delegated

    span = refusal.span if isinstance(refusal, SourceError) else None
    line = "" if span is None else span.text
    rule = line[line.find("-A ") :] if "-A " in line else line
    return Delegated(tool.kind, rule, _reason(refusal))


def _reason(refusal: Error) -> str:
    return refusal.message if isinstance(refusal, SourceError) else str(refusal)


def _checked(
    tool: KernelTool, family: Family, verb: str, words: list[str], text: bytes | None = None
) -> bytes:
    status, output, messages = tool.run(family, verb, words, text)
    if status != 0:
        raise KernelRefused(messages.decode("utf-8", "replace").strip(), status)
    return output


# What a command says of a rule that iptables-restore refused on its behalf.
def _of_a_command(error: KernelRefused, family: Family) -> KernelRefused:
    said = str(error).replace(f"{family.command}-restore", family.command)
    lines = [line for line in said.split("\n") if not line.startswith("Error occurred at line")]
    return KernelRefused("\n".join(lines), error.status)


class KernelRefused(ToolError):
    """The kernel's own iptables refused; its messages, and its exit status."""

    def __init__(self, messages: str, status: int) -> None:
        super().__init__(messages)
        self.status = status
