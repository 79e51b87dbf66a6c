"""Take a filter table over from the kernel's own: enforce it, and only then clear the old.

    read → say that the kernel has it → ours in force, with its counters → read again → clear

Killed anywhere, what is left is the kernel's, said to be so, or both, which the next command
that changes rules tidies up. A change that somebody makes meanwhile is taken over as well
(taking.py).
"""

from __future__ import annotations

from bpfilter.dataclass import dataclass
from bpfilter.errors import SourceError, StateError, ToolError
from bpfilter.firewall.delegated import Delegated
from bpfilter.firewall.given import GivenText
from bpfilter.firewall.live import Firewall
from bpfilter.iptables.found import KINDS, Found, filter_rules
from bpfilter.iptables.home import FilterTable, because_of, empty
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.iptables.taking import take
from bpfilter.rules.model import Family


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of a family: `found` is None if the kernel has no rules of it.

    `kept` says why its rules stay with the kernel.
    """

    family: Family
    found: Found | None
    kept: Delegated | None = None


def adopt(table: FilterTable, kind: str | None = None, *, dry_run: bool = False) -> Adopted:
    """Take over what is in force, of `kind` alone if that is given; the caller holds the
    xtables lock. A dry run has the kernel verify it, and changes nothing.

    Raises: any Error; what was in force is then still in force.
    """
    family, firewall = table.family, table.firewall
    found = _choose(firewall, family, kind)
    if found is None:
        if not dry_run:
            _forget(firewall, family, kind)
        return Adopted(family, None)
    try:
        if dry_run:
            firewall.verify(GivenText(found.text, f"{family.command}-{found.tool.kind}", family))
        else:
            _take(firewall, family, found)
    except SourceError as refusal:  # what we cannot read, either, the kernel can
        if table.config.unenforceable == "refuse":
            raise
        kept = because_of(found.tool, refusal)
        if not dry_run:
            firewall.mark(family, kept)
        return Adopted(family, found, kept)
    return Adopted(family, found)


# Which of the two is to be taken over.
def _choose(firewall: Firewall, family: Family, kind: str | None) -> Found | None:
    name = family.command
    every = [filter_rules(firewall.kernel, family, each) for each in KINDS]
    found = [each for each in every if each is not None]
    chosen = [each for each in found if kind in (None, each.tool.kind)]
    if not chosen:
        return None
    delegated = firewall.delegated(family)
    if delegated is not None and delegated.tool in {each.tool.kind for each in found}:
        if kind not in (None, delegated.tool):
            raise StateError(
                f"the filter table is {name}-{delegated.tool}'s, and there because "
                f"{delegated.reason}; rules of {name}-{kind} cannot be in force beside it as eBPF"
            )
        return next(each for each in found if each.tool.kind == delegated.tool)
    if delegated is None and firewall.generation(family) is not None:
        raise StateError(
            f"{name} rules of bpfilter's are in force, and would be replaced by those of "
            f"{name}-{chosen[0].tool.kind}; clear one of them first, with "
            f"'bpfilter clear -{_digit(family)}' or '{name}-{chosen[0].tool.kind} -F'"
        )
    if len(chosen) > 1:
        raise ToolError(
            f"{name}-nft and {name}-legacy both have filter rules, which packets must pass both; "
            "say which are to be taken over, with --from nft or --from legacy"
        )
    return chosen[0]


# Nothing is there of a table that is said to be the kernel's: it is ours again.
def _forget(firewall: Firewall, family: Family, kind: str | None) -> None:
    delegated = firewall.delegated(family)
    if delegated is not None and kind in (None, delegated.tool):
        firewall.mark(family, None)


def _take(firewall: Firewall, family: Family, found: Found) -> None:
    before = firewall.delegated(family)
    tool, text = found.tool, found.text
    firewall.mark(family, before or Delegated(tool.kind, "", "it is about to be taken over"))
    try:
        take(firewall, family, tool, text)
    except BaseException:
        _undo(firewall, family, tool, before)
        raise


# Ours go only while the kernel's are there: the fault may have come after they were cleared.
def _undo(firewall: Firewall, family: Family, tool: KernelTool, before: Delegated | None) -> None:
    if filter_rules(firewall.kernel, family, tool.kind) is None:
        firewall.mark(family, None)
        return
    firewall.clear(family)
    firewall.mark(family, before)


def settle(firewall: Firewall, family: Family) -> str:
    """Clear the kernel's table where ours has taken its place; gives whose it was, or nothing.

    The caller holds the xtables lock. Raises: ToolError; both are in force then.
    """
    delegated = firewall.delegated(family)
    if delegated is None:
        return ""
    tool = KernelTool(delegated.tool)
    firewall.settle(family, lambda: empty(tool, family))
    is_settled = firewall.delegated(family) is None
    return f"{family.command}-{tool.kind}" if is_settled else ""


def _digit(family: Family) -> int:
    return 4 if family is Family.IPV4 else 6
