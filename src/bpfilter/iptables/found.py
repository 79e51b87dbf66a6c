"""What the kernel's own tables hold, legacy and nf_tables, before any of it is moved."""

from __future__ import annotations

from bpfilter.dataclass import dataclass
from bpfilter.errors import ToolError
from bpfilter.iptables.config import Config
from bpfilter.iptables.home import TABLE, counted, has_rules
from bpfilter.iptables.kernel_tool import KernelTool, find_tool
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import TABLES, Family

KINDS = ("nft", "legacy")


@dataclass(frozen=True, slots=True)
class Found:
    """A filter table with rules: whose it is, and its text with counters."""

    tool: KernelTool
    text: bytes

    @property
    def rules(self) -> int:
        return sum(line.startswith(b"-A") for line in plain(self.text))


def filter_rules(kernel: Kernel, family: Family, kind: str) -> Found | None:
    """Give the filter rules that one of the kernel's two has, None if it has none.

    Nothing is asked of a legacy table that is not there, which would make the kernel create it.
    Raises: ToolError if there are rules that its tool cannot show.
    """
    is_there = (
        kernel.legacy_entries(family, TABLE) > 0 if kind == "legacy" else _has_tool("nft", family)
    )
    if not is_there:
        return None
    tool = KernelTool(kind)
    text = counted(tool, family)
    _check_shown(text, tool, family)
    return Found(tool, text) if has_rules(_joined(text)) else None


def other_tables(kernel: Kernel, family: Family) -> dict[str, tuple[str, ...]]:
    """Give the tables beside filter that have rules, each with which of the two has them."""
    nft = {name for number, name in kernel.nft_rule_tables() if number == family}
    found = {}
    for table, chains in TABLES.items():
        if table == TABLE:
            continue
        kinds = ["nft"] if table in nft else []
        # A policy for each base chain and the closing entry are no rules.
        if kernel.legacy_entries(family, table) > len(chains) + 1:
            kinds.append("legacy")
        if kinds:
            found[table] = tuple(kinds)
    return found


def misplaced(kernel: Kernel, family: Family, config: Config) -> str:
    """Say that other tables are where we would not look for them, and what to set; or nothing."""
    chosen = find_tool(config)
    kind = "none" if chosen is None else chosen.kind
    wrong: dict[str, list[str]] = {}
    for table, kinds in other_tables(kernel, family).items():
        for other in kinds:
            if other != kind:
                wrong.setdefault(other, []).append(table)
    said = [
        f"rules of {family.command} in {', '.join(tables)} are {family.command}-{other}'s, and "
        f"kernel-tool = {config.kernel_tool} is {kind} here; if they are to be seen and changed "
        f"by {family.command}-bpf, set 'kernel-tool = {other}' in /etc/bpfilter.conf"
        for other, tables in wrong.items()
    ]
    return "; ".join(said)


def plain(text: bytes) -> list[bytes]:
    """Give the chains and rules of a saved table without counters and comments."""
    lines = []
    for line in text.split(b"\n"):
        if line.startswith(b"["):
            lines.append(line.partition(b"] ")[2])
        elif line.startswith(b":"):
            lines.append(line.partition(b" [")[0])
        elif line.startswith(b"-A"):
            lines.append(line)
    return lines


def _joined(text: bytes) -> bytes:
    # With the space that comes after a policy.
    return b"\n".join(line + b" " for line in plain(text))


def _has_tool(kind: str, family: Family) -> bool:
    try:
        KernelTool(kind).path(family, "save")
    except ToolError:
        return False
    return True


# What iptables-nft-save says in a comment, and then leaves out (nft_is_table_compatible,
# iptables/nft.c); putting the table back would throw it away.
def _check_shown(text: bytes, tool: KernelTool, family: Family) -> None:
    for line in text.split(b"\n"):
        if line.startswith(b"# Table ") and b"incompatible" in line:
            raise ToolError(
                f"{family.command}-{tool.kind}: {line[2:].decode('utf-8', 'replace')}; what is "
                "there besides iptables' rules would be lost, so it stays as it is"
            )
