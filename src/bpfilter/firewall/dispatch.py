"""Which ruleset is in force: one word, which the fixed programs at the hooks look at.

    netfilter hook ─ link ─ dispatcher ─ selector[0] ─┬─ 0: nothing in force, ACCEPT
                                                      └─ slot 1 or 2: tail call
    selector: array of one u64, byte 0 the slot of IPv4, byte 1 that of IPv6
    programs: prog array, [slot - 1][family][hook], 2 x 2 x 5 entries

A ruleset is loaded whole into the slot that is free, and one 8-byte store puts it in
force at every hook and for both families at once: no packet meets a mixture, and
none meets nothing. If the program selected is missing, the packet is dropped.
(A netfilter link cannot be given another program, so the links stay as they are.) The
programs are those of dispatcher.py.
"""

from __future__ import annotations

from bpfilter.abi.bpf import MapType
from bpfilter.bpf.spec import MapSpec
from bpfilter.rules.model import TABLES, Family, Hook

NF_DROP = 0
NF_ACCEPT = 1

#: One before the kernel's own filter table (NF_IP_PRI_FILTER is 0): no two may share.
PRIORITY = -1

SLOTS = (1, 2)
FAMILIES = (Family.IPV4, Family.IPV6)
HOOKS = tuple(Hook[name] for name in TABLES["filter"])

SELECTOR = MapSpec("bpf_selector", MapType.ARRAY, 4, 8, 1)
PROGRAMS = MapSpec(
    "bpf_programs", MapType.PROG_ARRAY, 4, 4, len(SLOTS) * len(FAMILIES) * len(Hook)
)


def program_index(slot: int, family: Family, hook: Hook) -> int:
    """Give the entry of the prog array."""
    return ((slot - 1) * len(FAMILIES) + FAMILIES.index(family)) * len(Hook) + hook


def selected(word: int, family: Family) -> int:
    """Give a family's slot out of the selector's value; 0 is none."""
    return word >> 8 * FAMILIES.index(family) & 0xFF


def select(word: int, family: Family, slot: int) -> int:
    """Give the selector's value with another slot for one family."""
    shift = 8 * FAMILIES.index(family)
    return word & ~(0xFF << shift) | slot << shift
