"""Rules in force beside ours: in the kernel's own tables, legacy and nf_tables.

A packet must pass both, so an administrator who moved a ruleset here wants to know that the
old one still drops and counts.
"""

from __future__ import annotations

from bpfilter.firewall import conntrack
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import TABLES, Family

NFPROTO_INET = 1
#: Tables of iptables-nft that are the kernel's in any case, and filter nothing.
_BESIDE = set(TABLES) - {"filter"}


def warnings(kernel: Kernel, family: Family) -> tuple[str, ...]:
    """Give a sentence for each place that has filter rules of a family besides ours."""
    found = []
    legacy = f"{family.command}-legacy"
    # A policy for each base chain and the closing entry are no rules.
    if kernel.legacy_entries(family, "filter") > len(TABLES["filter"]) + 1:
        found.append(
            f"{legacy} also has rules in its filter table, and packets must pass both; "
            f"'{legacy} -S' shows them, '{legacy} -F' removes them"
        )
    names = {
        name
        for table_family, name in kernel.nft_rule_tables()
        if table_family in (family, NFPROTO_INET)
        and name != conntrack.TABLE
        and (table_family, name) not in {(family, table) for table in _BESIDE}
    }
    if names:
        found.append(
            f"nf_tables also has rules for {family.command} (tables {', '.join(sorted(names))}), "
            "and packets must pass both; 'nft list ruleset' shows them"
        )
    return tuple(found)
