"""Helpers and kernel functions the interpreter has a model of by itself; callers add more.

A fake gets the machine and R1-R5, and gives R0; a negative number (an errno) is fine.
Clocks, packets and redirection are the caller's to fake: they depend on its world.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
from bpfilter.asm.alu import signed
from bpfilter.errors import InterpError

if TYPE_CHECKING:
    from bpfilter.asm.interp import Machine

Args = tuple[int, int, int, int, int]
Fake = Callable[["Machine", Args], int]


def map_lookup_elem(machine: Machine, args: Args) -> int:
    found = machine.map_at(args[0])
    return found.lookup(machine.memory.read(args[1], found.key_bytes))


def map_update_elem(machine: Machine, args: Args) -> int:
    found = machine.map_at(args[0])
    key = machine.memory.read(args[1], found.key_bytes)
    return found.update(key, machine.memory.read(args[2], found.value_bytes), args[3])


def map_delete_elem(machine: Machine, args: Args) -> int:
    found = machine.map_at(args[0])
    return found.delete(machine.memory.read(args[1], found.key_bytes))


def loop(machine: Machine, args: Args) -> int:
    """bpf_loop: call back with (index, context) until it gives 1; number of calls made."""
    count, callback, context, flags, _ = args
    count &= 0xFFFF_FFFF
    if flags:
        return -errno.EINVAL
    if count > abi.MAX_LOOPS:
        return -errno.E2BIG
    for index in range(count):
        if machine.call(callback, index, context):
            return index + 1
    return count


def probe_read_kernel(machine: Machine, args: Args) -> int:
    """Copy memory; zeros and -EFAULT if it cannot be read."""
    target, nbytes, unsafe = args[0], args[1] & 0xFFFF_FFFF, args[2]
    try:
        data, status = machine.memory.read(unsafe, nbytes), 0
    except InterpError:
        data, status = bytes(nbytes), -errno.EFAULT
    machine.memory.write(target, data)
    return status


def iter_num_new(machine: Machine, args: Args) -> int:
    """bpf_iter_num_new(it, start, end): begin to count from start to end - 1.

    struct bpf_iter_num_kern: 8 bytes, the current number and the end, both s32; an
    iterator that could not be made has nothing to give (kernel/bpf/bpf_iter.c).
    """
    iterator, start, end = args[0], signed(args[1], 32), signed(args[2], 32)
    error = 0
    if start > end:
        error = -errno.EINVAL
    elif end - start > abi.MAX_LOOPS:
        error = -errno.E2BIG
    state = (0, 0) if error else (signed(start - 1, 32), end)
    machine.memory.write(iterator, _ITERATOR.pack(*state))
    return error


def iter_num_next(machine: Machine, args: Args) -> int:
    """bpf_iter_num_next(it): the address of the next number, or 0."""
    current, end = _ITERATOR.unpack(machine.memory.read(args[0], _ITERATOR.size))
    following = signed(current + 1, 32)
    state = (following, end) if following < end else (0, 0)
    machine.memory.write(args[0], _ITERATOR.pack(*state))
    return args[0] if following < end else 0


def iter_num_destroy(machine: Machine, args: Args) -> int:
    machine.memory.write(args[0], bytes(_ITERATOR.size))
    return 0


def rdonly_cast(_machine: Machine, args: Args) -> int:
    """bpf_rdonly_cast(object, type id): the same address; the type is the verifier's affair."""
    return args[0]


def nothing(_machine: Machine, _args: Args) -> int:
    return 0


_ITERATOR = struct.Struct("<ii")

HELPERS: dict[int, Fake] = {
    Helper.MAP_LOOKUP_ELEM: map_lookup_elem,
    Helper.MAP_UPDATE_ELEM: map_update_elem,
    Helper.MAP_DELETE_ELEM: map_delete_elem,
    Helper.LOOP: loop,
    Helper.PROBE_READ_KERNEL: probe_read_kernel,
    Helper.GET_SMP_PROCESSOR_ID: nothing,  # the machine has one CPU, number 0
    Helper.SPIN_LOCK: nothing,  # and nobody else runs
    Helper.SPIN_UNLOCK: nothing,
}

KFUNCS: dict[str, Fake] = {
    "bpf_iter_num_new": iter_num_new,
    "bpf_iter_num_next": iter_num_next,
    "bpf_iter_num_destroy": iter_num_destroy,
    "bpf_rdonly_cast": rdonly_cast,
}
