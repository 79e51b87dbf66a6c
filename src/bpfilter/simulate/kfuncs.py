"""The kernel functions that programs call, as the interpreter calls them: (machine, R1-R5).

A dynptr and an iterator are what their programs' stack holds; here the dynptr keeps
nothing, as there is one packet at a time, and the iterator the kernel's own two numbers.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfilter.asm.fakes import Args, Fake
from bpfilter.asm.memory import Memory
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
    return {
        "bpf_dynptr_from_skb": dynptr_from_skb,
        "bpf_dynptr_slice": _slice_of(world),
        "bpf_rdonly_cast": rdonly_cast,
        **_iterator(world.memory),
    }


def dynptr_from_skb(_machine: Machine, _args: Args) -> int:
    return 0


def rdonly_cast(_machine: Machine, args: Args) -> int:
    return args[0]


def _slice_of(world: World) -> Fake:
    # bpf_dynptr_check_off_len(), then skb_header_pointer(): what does not lie in the linear
    # part alone is copied to the caller's buffer.
    def dynptr_slice(machine: Machine, args: Args) -> int:
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

    return dynptr_slice


def _iterator(memory: Memory) -> dict[str, Fake]:
    # struct bpf_iter_num_kern (kernel/bpf/bpf_iter.c): s32 cur, s32 end; 0, 0 once it is done.
    load, store = memory.loader(4), memory.storer(4)

    def new(_machine: Machine, args: Args) -> int:
        start, end = _signed(args[1]), _signed(args[2])
        if start > end or end - start > BPF_MAX_LOOPS:
            store(args[0], 0)
            store(args[0] + 4, 0)
            return -errno.EINVAL if start > end else -errno.E2BIG
        store(args[0], start - 1)
        store(args[0] + 4, end)
        return 0

    def following(_machine: Machine, args: Args) -> int:
        here = args[0]
        current, end = _signed(load(here)) + 1, _signed(load(here + 4))
        if current >= end:
            current = 0
            store(here + 4, 0)
            here = 0
        store(args[0], current)
        return here

    def destroy(_machine: Machine, args: Args) -> int:
        store(args[0], 0)
        store(args[0] + 4, 0)
        return 0

    return {
        "bpf_iter_num_new": new,
        "bpf_iter_num_next": following,
        "bpf_iter_num_destroy": destroy,
    }


def _signed(number: int) -> int:
    number &= U32
    return number - (1 << 32) if number >> 31 else number
