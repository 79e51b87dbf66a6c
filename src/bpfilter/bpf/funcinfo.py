"""What a program with callbacks must tell of its functions (func_info of BPF_PROG_LOAD).

A callback, as bpf_loop() takes one, is passed by the address of a function of the same
program (BPF_PSEUDO_FUNC); the verifier then wants a BTF type for every function.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command
from bpfilter.asm.insn import Insn
from bpfilter.btf.writer import write_functions
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory


def takes_addresses(insns: Sequence[Insn]) -> bool:
    return any(insn.is_func_address for insn in insns)


def starts(insns: Sequence[Insn]) -> list[int]:
    """Give the slots at which the functions of a resolved program begin, 0 the first."""
    found = {0}
    slot = 0
    for insn in insns:
        if insn.is_sub_call or insn.is_func_address:
            found.add(slot + 1 + insn.imm)
        slot += insn.slots
    return sorted(found)


def load(kernel: Kernel, insns: Sequence[Insn], op: str) -> tuple[Fd, Memory]:
    """Load BTF for all functions; give it and the array of struct bpf_func_info.

    struct bpf_func_info: u32 insn_off (slots), u32 type_id.
    """
    slots = starts(insns)
    data, ids = write_functions([f"f{slot}" for slot in slots])
    btf = Memory(data)
    attr = abi.BTF_LOAD.pack(btf=btf.address, btf_size=len(btf))
    fd = Fd(kernel.bpf(Command.BTF_LOAD, attr, op))
    pairs = (struct.pack("=II", slot, type_id) for slot, type_id in zip(slots, ids, strict=True))
    return fd, Memory(b"".join(pairs))
