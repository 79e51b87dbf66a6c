"""The fixed programs at the hooks, and the one word that says which ruleset is in force.

    netfilter hook ─ link ─ dispatcher ─ selector[0] ─┬─ 0: nothing in force, ACCEPT
                                                      └─ slot 1 or 2: tail call
    selector: array of one u64, byte 0 the slot of IPv4, byte 1 that of IPv6
    programs: prog array, [slot - 1][family][hook], 2 x 2 x 5 entries

A ruleset is loaded whole into the slot that is free, and one 8-byte store puts it in
force at every hook and for both families at once: no packet meets a mixture, and
none meets nothing. If the program selected is missing, the packet is dropped.
(A netfilter link cannot be given another program, so the links stay as they are.)
"""

from __future__ import annotations

from bpfilter.abi.bpf import AttachType, MapType, ProgramType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R2, R3, Insn, Size
from bpfilter.bpf.spec import MapSpec, ProgramSpec
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


def dispatcher(family: Family, hook: Hook) -> ProgramSpec:
    """Give the program that stays attached at a hook."""
    return ProgramSpec(
        name=f"hook{'4' if family is Family.IPV4 else '6'}_{hook.name.lower()}",
        type=ProgramType.NETFILTER,
        attach_type=AttachType.NETFILTER,
        insns=_instructions(family, hook),
    )


def stopper() -> ProgramSpec:
    """Give the program that takes the place of those unloaded: it drops, as a missing one.

    To delete an entry instead takes the kernel a grace period for each (prog_array_map_poke_run).
    """
    b = Builder("stopper")
    b.mov(R0, NF_DROP)
    b.exit()
    return ProgramSpec("stopper", ProgramType.NETFILTER, b.build())


def _instructions(family: Family, hook: Hook) -> tuple[Insn, ...]:
    # A tail call by a constant is a jump that the kernel patches when the array changes; by a
    # register it is an indirect one, 10 ns with retpolines.
    b = Builder(f"dispatch {family.command} {hook.name}")
    b.load_map_value(R2, "selector", FAMILIES.index(family))
    b.load(R3, R2, 0, Size.B)
    for slot in SLOTS:
        other = b.fresh("other")
        b.jne(R3, slot, other)
        b.load_map(R2, "programs")
        b.mov(R3, program_index(slot, family, hook))
        b.call(Helper.TAIL_CALL)
        b.jump("drop")
        b.label(other)
    b.jne(R3, 0, "drop")
    b.mov(R0, NF_ACCEPT)
    b.exit()
    b.label("drop")
    b.mov(R0, NF_DROP)
    b.exit()
    return b.build()
