"""The fixed programs at the hooks (dispatch.py says what they are for)."""

from __future__ import annotations

from bpfilter.abi.bpf import AttachType, ProgramType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R2, R3, Insn, Size
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.firewall import dispatch
from bpfilter.firewall.dispatch import NF_ACCEPT, NF_DROP
from bpfilter.rules.model import Family, Hook


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
    b.load_map_value(R2, "selector", dispatch.FAMILIES.index(family))
    b.load(R3, R2, 0, Size.B)
    for slot in dispatch.SLOTS:
        other = b.fresh("other")
        b.jne(R3, slot, other)
        b.load_map(R2, "programs")
        b.mov(R3, dispatch.program_index(slot, family, hook))
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
