"""Where instructions lead: the part that listing, checking and interpreting share.

Works on labels and on resolved distances alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from bpfilter.abi import insn as abi
from bpfilter.asm.insn import Insn, RefKind
from bpfilter.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Flow:
    """`slots[i]` is the first slot of instruction i; `slots[-1]` the length of the program.

    `targets` has an entry for every instruction that names another one: the index of
    that one, or None if there is no such instruction. `entries` are the indices at
    which the program and its subprograms begin, ascending.
    """

    slots: tuple[int, ...]
    targets: dict[int, int | None]
    entries: tuple[int, ...]

    def entry_of(self, index: int) -> int:
        """The entry of the subprogram which instruction `index` belongs to."""
        return max(entry for entry in self.entries if entry <= index)


def flow(insns: Sequence[Insn]) -> Flow:
    """Find the targets of jumps, subprogram calls and function addresses."""
    slots = tuple(accumulate((insn.slots for insn in insns), initial=0))
    index_of_slot = {slot: index for index, slot in enumerate(slots[:-1])}
    index_of_label = {insn.label: index for index, insn in enumerate(insns) if insn.label}
    targets: dict[int, int | None] = {}
    entries = {0}
    for index, insn in enumerate(insns):
        calls = insn.is_sub_call or insn.is_func_address
        if not calls and not insn.is_jump:
            continue
        if insn.ref is not None and insn.ref.kind is RefKind.LABEL:
            target = index_of_label.get(insn.ref.name)
        else:
            target = index_of_slot.get(slots[index] + 1 + _distance(insn))
        targets[index] = target
        if calls and target is not None:
            entries.add(target)
    return Flow(slots, targets, tuple(sorted(entries)))


def ends_flow(insn: Insn) -> bool:
    """Whether the instruction after this one cannot come next."""
    return insn.opcode in (abi.EXIT, abi.JA, abi.GOTOL)


def _distance(insn: Insn) -> int:
    if insn.is_jump and insn.opcode != abi.GOTOL:
        return insn.off
    low = insn.imm & 0xFFFF_FFFF
    return low - (1 << 32) if low >= 1 << 31 else low
