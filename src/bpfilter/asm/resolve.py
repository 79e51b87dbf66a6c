"""Labels to offsets. Stands after all parts of a program are joined, before encoding.

Maps, kernel functions and types stay names: only the loader knows their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from bpfilter.abi import insn as abi
from bpfilter.asm.insn import Insn, Ref, RefKind
from bpfilter.dataclass import replace
from bpfilter.errors import BuildError


def resolve(insns: Iterable[Insn], long_jumps: bool = True) -> tuple[Insn, ...]:
    """Turn every label reference into a distance in slots.

    A jump farther than 16 bits becomes `gotol` with a 32-bit distance; a conditional one
    becomes three instructions, the last of them `gotol`. That needs Linux 6.6, commit
    4cd58e9af8b9 ("bpf: Support new 32bit offset jmp instruction"); with `long_jumps` off
    such a jump is an error.

    Raises: BuildError naming the label if it is undefined, defined twice or too far.
    """
    program = list(insns)
    while True:
        places = _Places(program)
        far = [i for i, insn in enumerate(program) if _is_too_far(i, insn, places)]
        if not far:
            break
        if not long_jumps:
            insn = program[far[0]]
            raise BuildError(f"label {insn.ref} is out of reach of a 16-bit jump", insn.origin)
        for i in reversed(far):  # from the end, so that the indices before stay right
            program[i : i + 1] = _lengthened(program[i])
    return tuple(_resolved(i, insn, places) for i, insn in enumerate(program))


class _Places:
    # Slot of each instruction, and of each label.
    def __init__(self, program: Sequence[Insn]) -> None:
        self.slots = list(accumulate((insn.slots for insn in program), initial=0))
        self.labels: dict[str, int] = {}
        for slot, insn in zip(self.slots, program, strict=False):
            if insn.label is None:
                continue
            if insn.label in self.labels:
                raise BuildError(f"label {insn.label} is defined twice", insn.origin)
            self.labels[insn.label] = slot

    def distance(self, index: int, insn: Insn, ref: Ref) -> int:
        target = self.labels.get(ref.name)
        if target is None:
            raise BuildError(f"label {ref.name} is not defined", insn.origin)
        return target - self.slots[index] - 1


def _is_too_far(index: int, insn: Insn, places: _Places) -> bool:
    ref = insn.ref
    if ref is None or ref.kind is not RefKind.LABEL or not insn.is_jump:
        return False
    return insn.opcode != abi.GOTOL and not (
        -(1 << 15) <= places.distance(index, insn, ref) < 1 << 15
    )


def _lengthened(insn: Insn) -> list[Insn]:
    if not insn.is_conditional:
        return [replace(insn, opcode=abi.GOTOL)]
    return [
        replace(insn, ref=None, off=1),
        Insn(abi.JA, off=1, origin=insn.origin),
        Insn(abi.GOTOL, ref=insn.ref, origin=insn.origin),
    ]


def _resolved(index: int, insn: Insn, places: _Places) -> Insn:
    ref = insn.ref
    if ref is None or ref.kind is not RefKind.LABEL:
        return insn
    distance = places.distance(index, insn, ref)
    if insn.is_jump and insn.opcode != abi.GOTOL:
        return replace(insn, ref=None, off=distance)
    imm = distance & 0xFFFF_FFFF if insn.opcode == abi.LD_IMM64 else distance
    return replace(insn, ref=None, imm=imm)
