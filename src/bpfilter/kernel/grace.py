"""Waiting until no program runs any more that began before.

A program swapped out of a prog array, or a map value replaced, may still be in use by a
run that began earlier. Netfilter hooks, XDP and TC run programs as RCU readers
(nf_hook(), include/linux/netfilter.h), so one RCU grace period is what to wait for.
bpf(2) offers just that: an update of a map of maps returns only after it, "so that
userspace, when we return to it, knows that all programs that could be running use the
new map value" (maybe_wait_bpf_programs(), kernel/bpf/syscall.c; since Linux 4.18, commit
1ae80cf31938 "bpf: wait for running BPF programs when updating map-in-map").

membarrier(2) is not enough: with one CPU online MEMBARRIER_CMD_GLOBAL returns at once,
though a preempted program may still be in the middle, and with nohz_full it is refused.
"""

from __future__ import annotations

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command, MapType
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory

_OP = "wait for running programs"


def wait(kernel: Kernel) -> None:
    """Return when every program run that began before this call has ended."""
    with (
        _create(kernel, MapType.ARRAY, None) as inner,
        _create(kernel, MapType.ARRAY_OF_MAPS, inner) as outer,
    ):
        key, value = Memory(4), Memory(abi.FD.pack(fd=inner.number))
        attr = abi.MAP_ELEM.pack(map_fd=outer.number, key=key.address, value=value.address)
        kernel.bpf(Command.MAP_UPDATE_ELEM, attr, _OP)


def _create(kernel: Kernel, kind: MapType, inner: Fd | None) -> Fd:
    attr = abi.MAP_CREATE.pack(
        map_type=kind,
        key_size=4,
        value_size=4,
        max_entries=1,
        inner_map_fd=inner.number if inner else 0,
    )
    return Fd(kernel.bpf(Command.MAP_CREATE, attr, _OP))
