"""What the rest of this package asks of the kernel.

`kernel.linux.LinuxKernel` does it with system calls, and nothing else here makes
any. Tests put a fake in its place, to count calls and to let the n-th one fail.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bpfilter.abi.bpf import Command
from bpfilter.kernel.fd import Fd


class Kernel(Protocol):
    """Every method raises KernelError (or its RestrictedError), unless it says otherwise."""

    def require_privileges(self, op: str) -> None:
        """Say at once that `op` cannot work. Raises: RestrictedError naming what is missing."""

    def bpf(self, command: Command, attr: bytearray, op: str) -> int:
        """Call bpf(2); results that the kernel writes into the attr are then in `attr`.

        `op` says for whom: the words an error begins with. Gives the call's result, a new
        descriptor for some commands. Raises: UnsupportedError if there is no bpf(2).
        """

    def map_memory(self, fd: Fd, length: int) -> mmap.mmap:
        """Map a BPF_F_MMAPABLE array, shared, readable and writable."""

    def vmlinux_btf(self) -> bytes:
        """Give the kernel's type information. Raises: UnsupportedError without any."""

    def module_btf(self, module: str) -> bytes | None:
        """Give a module's type information, None if it is not loaded or has none."""

    def btf_identity(self, module: str) -> str:
        """Name the type information that the kernel and a module have now.

        Another boot gives another name, and so does loading the module anew: ids and layouts
        that were found under one name hold for as long as it stays the same.
        """

    def possible_cpus(self) -> int:
        """Give the number of per-CPU values a lookup returns: CPUs that may ever be there."""

    def cpu_numbers(self) -> int:
        """Give what the number of any such CPU is less than: nr_cpu_ids."""

    def clock_hz(self) -> int:
        """Give the ticks per second of the kernel's own clock, CONFIG_HZ: those of jiffies."""

    def wait_for_readers(self) -> None:
        """Return when every program run that began before this call has ended.

        After a change of what programs read or tail-call, none uses the old state then.
        """

    def in_netns(self, netns: str | os.PathLike[str] | None) -> AbstractContextManager[None]:
        """Move this thread to a network namespace, by name or path, for a `with` block.

        A netfilter link attaches to the namespace of the thread that creates it. None is
        the namespace the thread is in already.
        """

    def in_scratch_netns(self) -> AbstractContextManager[None]:
        """Move this thread to a new, empty network namespace for a `with` block."""

    def netns_inode(self) -> int:
        """Give the inode of this thread's network namespace; it may be reused after the end."""

    def owns_netns(self) -> bool:
        """Whether this network namespace belongs to our user namespace, and so has our users."""

    def unused_netns(self, inodes: Iterable[int]) -> set[int]:
        """Give those of some network namespaces, by inode, that no process is in or holds open,
        and that have no name. Such a one may still be held by a socket, or by a link."""

    def netns_cookie(self) -> int:
        """Give this network namespace's cookie, never reused until reboot; 0 if unknown.

        Since Linux 5.14, commit e8b9eab99232 ("net: retrieve netns cookie via getsocketopt").
        """

    def legacy_entries(self, family: int, table: str) -> int:
        """Give the entries of a legacy table of this namespace, 0 if there is none such."""

    def nft_rule_tables(self) -> set[tuple[int, str]]:
        """Give (NFPROTO_* family, table) of every nf_tables rule of this namespace."""

    def nft_generation(self) -> int:
        """Give the number of the last change of nf_tables in this namespace."""

    def delete_nft_table(self, family: int, name: str, generation: int) -> bool:
        """Delete an nf_tables table with all that is in it, unless there has been a change after
        that of this number; gives whether it has."""

    def mount_bpffs(self, path: Path) -> Path:
        """Have a bpffs mounted at a path of pid 1's mount namespace, unless there is one.

        Gives the path by which this process reaches it. What is pinned there outlives a
        private mount namespace, as `ip netns exec` makes one.
        """

    def reach_bpffs(self, path: Path) -> Path:
        """Give the same without mounting anything: there may be nothing at that path."""

    def unmount_bpffs(self, path: Path) -> None:
        """Undo `mount_bpffs`: everything still pinned there goes away with it."""

    def lock(
        self, path: Path, timeout_s: float = 0, shared: bool = False
    ) -> AbstractContextManager[None]:
        """Hold flock(2) on a file for a `with` block, shared with others who ask for that.

        The file is made, unless shared; its holder may remove it. Raises: BusyError after the
        timeout, KernelError, ENOENT if there is no file to share.
        """

    def replace_file(self, path: Path, data: bytes) -> None:
        """Write a file beside and rename it, so that it is there whole or not at all."""

    def make_directory(self, path: Path) -> None:
        """Make a directory, and those above it; one that is there is fine."""

    def list_directory(self, path: Path) -> list[str]:
        """Give the sorted names in a directory; a directory that is not there has none."""

    def rename(self, source: Path, target: Path) -> None:
        """Rename a pin, replacing one that is there, in one step."""

    def remove(self, path: Path) -> None:
        """Remove a pin or an empty directory; one that is not there is fine."""
