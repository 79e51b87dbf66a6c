"""Helpers the interpreter has a model of by itself; callers add or replace by number.

A fake gets the machine and R1-R5, and gives R0; a negative number (an errno) is fine.
Clocks, packets and redirection are the caller's to fake: they depend on its world.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfilter.abi import insn as abi
from bpfilter.abi.helpers import Helper
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


def nothing(_machine: Machine, _args: Args) -> int:
    return 0


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
