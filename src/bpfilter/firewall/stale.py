"""Rules of network namespaces that nothing refers to any more.

A link keeps its namespace: after `ip netns del`, or the end of a container, one with rules
in force lives on, with all its devices and routes, until somebody takes its pins away.
"""

from __future__ import annotations

from pathlib import Path

from bpfilter.firewall.store import BPFFS, LOCK, Store, state_directory, store_of
from bpfilter.kernel.api import Kernel


def find(kernel: Kernel) -> list[Store]:
    """Give the stores of namespaces that no process is in or holds open, and that have no name.

    One that only sockets refer to counts too; the kernel does not tell of these.
    Raises: KernelError where not all processes can be seen.
    """
    return _unused(kernel, kernel.reach_bpffs(BPFFS), state_directory(kernel))


def find_with_rules(kernel: Kernel) -> list[Store]:
    """Give those of them that have rules in force: the others have gone, but for their files."""
    return _unused(kernel, kernel.reach_bpffs(BPFFS))


def _unused(kernel: Kernel, *places: Path) -> list[Store]:
    names = [name for place in places for name in kernel.list_directory(place)]
    unused = kernel.unused_netns(int(name) for name in names if name.isdigit())
    return [store_of(kernel, str(inode)) for inode in sorted(unused)]


def clear(store: Store, wait_s: float) -> bool:
    """Let a namespace go: detach its links, forget its rules and counters.

    False if there were only files about it: it has gone long since.
    """
    with store.lock(wait_s):
        if not store.kernel.unused_netns([int(store.pins.name)]):
            return False  # a new one has the number since
        had_rules = store.pins.exists()
        store.take_apart()
        for name in store.kernel.list_directory(store.files):
            if name != LOCK:
                store.kernel.remove(store.files / name)
        store.forget()
    return had_rules
