"""The kernel functions that programs call, as the interpreter calls them: (machine, R1-R5).

A dynptr and an iterator are what their programs' stack holds; here the dynptr keeps
nothing, as there is one packet at a time, and the iterator the kernel's own two numbers.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfilter.asm.fakes import Args, Fake
from bpfilter.errors import Error

if TYPE_CHECKING:
    from bpfilter.asm.interp import Machine
    from bpfilter.simulate.world import World

BPF_MAX_LOOPS = 1 << 23  # include/linux/bpf_verifier.h
U32 = 0xFFFF_FFFF


class CutShortError(Error):
    """The rules read bytes that the packet had and its capture has not."""


def kfuncs(world: World) -> Mapping[str, Fake]:
    """Give the functions, working on the packet a world holds."""

    def dynptr_from_skb(_machine: Machine, _args: Args) -> int:
        return 0

    def dynptr_slice(machine: Machine, args: Args) -> int:
        # bpf_dynptr_check_off_len(), then skb_header_pointer(): what lies beyond the linear
        # part is copied to the caller's buffer.
        offset, buffer, nbytes = args[1], args[2], args[3] & U32
        end = offset + nbytes
        if end > world.length:
            return 0
        if end > world.captured:
            raise CutShortError(f"the capture holds only {world.captured} bytes of the packet")
        if end > world.linear:
            machine.memory.write(buffer, world.packet_bytes(offset, nbytes))
            return buffer
        return world.data_address + offset

    return {
        "bpf_dynptr_from_skb": dynptr_from_skb,
        "bpf_dynptr_slice": dynptr_slice,
        "bpf_rdonly_cast": rdonly_cast,
        "bpf_iter_num_new": iter_num_new,
        "bpf_iter_num_next": iter_num_next,
        "bpf_iter_num_destroy": iter_num_destroy,
    }


def rdonly_cast(_machine: Machine, args: Args) -> int:
    return args[0]


# struct bpf_iter_num_kern (kernel/bpf/bpf_iter.c): s32 cur, s32 end; 0, 0 once it is done.


def iter_num_new(machine: Machine, args: Args) -> int:
    start, end = _signed(args[1]), _signed(args[2])
    status = 0
    if start > end:
        status = -errno.EINVAL
    elif end - start > BPF_MAX_LOOPS:
        status = -errno.E2BIG
    if status:
        start, end = 1, 0
    machine.memory.write(args[0], _pack(start - 1) + _pack(end))
    return status


def iter_num_next(machine: Machine, args: Args) -> int:
    here = machine.memory.read(args[0], 8)
    following = int.from_bytes(here[:4], "little", signed=True) + 1
    if following >= int.from_bytes(here[4:], "little", signed=True):
        machine.memory.write(args[0], bytes(8))
        return 0
    machine.memory.write(args[0], _pack(following))
    return args[0]


def iter_num_destroy(machine: Machine, args: Args) -> int:
    machine.memory.write(args[0], bytes(8))
    return 0


def _signed(register: int) -> int:
    value = register & U32
    return value - (1 << 32) if value >> 31 else value


def _pack(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)
