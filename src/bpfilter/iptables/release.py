"""Give a filter table to the kernel's own iptables, with its counters: `adopt` the other way.

    say that the kernel has it → the kernel's in force → ours out of force → say nothing more

Killed anywhere, what is left is ours, both, or the kernel's.
"""

from __future__ import annotations

from bpfilter.dataclass import dataclass
from bpfilter.errors import ToolError
from bpfilter.firewall.delegated import Delegated
from bpfilter.iptables.adopt import settle
from bpfilter.iptables.home import FilterTable, give, has_rules, saved
from bpfilter.iptables.kernel_tool import KernelTool, find_tool
from bpfilter.rules.model import Family


@dataclass(frozen=True, slots=True)
class Released:
    """What became of a family: `tool` is None if nothing of it was ours.

    `rules` is None if the tool had them already.
    """

    family: Family
    tool: KernelTool | None
    rules: int | None = None


def release(table: FilterTable, kind: str | None = None) -> Released:
    """Give the table to the kernel's tool, which is configured unless `kind` names it; the
    caller holds the xtables lock.

    Raises: any Error; what was in force is then still in force.
    """
    family, firewall = table.family, table.firewall
    settle(firewall, family)
    generation = firewall.generation(family)
    delegated = firewall.delegated(family)
    if generation is None:
        if delegated is None:
            return Released(family, None)
        firewall.mark(family, None)
        return Released(family, KernelTool(delegated.tool))
    tool = _receiver(table, kind)
    to = Delegated(tool.kind, "", "it is about to be released")
    firewall.hand_over(family, lambda _: None, to, lambda text: give(tool, family, text))
    firewall.mark(family, None)
    return Released(family, tool, generation.rules)


def _receiver(table: FilterTable, kind: str | None) -> KernelTool:
    name = table.family.command
    tool = find_tool(table.config) if kind is None else KernelTool(kind)
    if tool is None:
        raise ToolError(
            f"there is no iptables of the kernel's to give the {name} rules to: none is "
            "installed, or /etc/bpfilter.conf says kernel-tool = none; --to names one"
        )
    if has_rules(saved(tool, table.family)):
        raise ToolError(
            f"{name}-{tool.kind} has filter rules of its own, which would be lost; "
            f"'{name}-{tool.kind} -S' shows them, '{name}-{tool.kind} -F' removes them"
        )
    return tool
