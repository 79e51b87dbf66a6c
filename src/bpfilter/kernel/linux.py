"""The one door to the kernel: system calls, and errno turned into errors."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from bpfilter.abi import syscalls
from bpfilter.abi.bpf import Command
from bpfilter.errors import BusyError, Error, KernelError, UnsupportedError
from bpfilter.kernel import bpffs, grace, host, restrict, tables
from bpfilter.kernel import netns as namespaces
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.libc import LIBC, kernel_error

_ENOTSUPP = 524  # include/linux/errno.h: the kernel's own, unknown to the C library
_RETRIES = 16
_LOCK_POLL_S = 0.05
_BTF = Path("/sys/kernel/btf")

# A signal makes these return early; the work starts again from its beginning.
_INTERRUPTED = {
    Command.PROG_LOAD: errno.EAGAIN,
    Command.PROG_TEST_RUN: errno.EINTR,
}


class LinuxKernel:
    """Kernel (see `kernel.api`) by system calls; holds nothing open itself."""

    def require_privileges(self, op: str) -> None:
        restrict.require(op, restrict.read_facts())

    def bpf(self, command: Command, attr: bytearray, op: str) -> int:
        # Trailing zeros are not passed: an older kernel then need not know those fields.
        used = len(attr.rstrip(b"\0"))
        pinned = (ctypes.c_char * len(attr)).from_buffer(attr)
        for _ in range(_RETRIES):
            result = int(
                LIBC.syscall(
                    ctypes.c_long(_bpf_number()),
                    ctypes.c_int(command),
                    ctypes.c_void_p(ctypes.addressof(pinned)),
                    ctypes.c_uint(used),
                )
            )
            if result >= 0:
                return result
            code = ctypes.get_errno()
            if code == errno.EPERM and _raise_memlock():
                continue
            if code != _INTERRUPTED.get(command):
                break
        raise _bpf_error(op, command, code)

    def map_memory(self, fd: Fd, length: int) -> mmap.mmap:
        try:
            return mmap.mmap(fd.number, length, mmap.MAP_SHARED)
        except OSError as error:
            raise kernel_error("map an array into memory", error) from error

    def vmlinux_btf(self) -> bytes:
        try:
            return _BTF.joinpath("vmlinux").read_bytes()
        except FileNotFoundError:
            raise UnsupportedError(
                "type information of itself (/sys/kernel/btf/vmlinux)",
                advice="it must be built with CONFIG_DEBUG_INFO_BTF=y",
            ) from None
        except OSError as error:
            raise kernel_error("read the kernel's type information", error) from error

    def module_btf(self, module: str) -> bytes | None:
        try:
            return _BTF.joinpath(module).read_bytes()
        except OSError:
            return None

    def btf_identity(self, module: str) -> str:
        # A file of sysfs has its inode number from a counter that goes round after 2^32
        # (__kernfs_new_node(), fs/kernfs/dir.c); its times are those of being looked at.
        files = [host.boot_id()]
        for name in ("vmlinux", module):
            with suppress(OSError):
                found = _BTF.joinpath(name).stat()
                files.append(f"{name}:{found.st_ino}:{found.st_size}")
        return " ".join(files)

    def possible_cpus(self) -> int:
        return len(_possible_cpus())

    def cpu_numbers(self) -> int:
        return max(_possible_cpus()) + 1

    def clock_hz(self) -> int:
        return host.clock_hz()

    def wait_for_readers(self) -> None:
        grace.wait(self)

    def in_netns(self, netns: str | os.PathLike[str] | None) -> AbstractContextManager[None]:
        return nullcontext() if netns is None else namespaces.entered(netns)

    def in_scratch_netns(self) -> AbstractContextManager[None]:
        return namespaces.scratch()

    def netns_inode(self) -> int:
        return namespaces.inode()

    def owns_netns(self) -> bool:
        return namespaces.is_ours()

    def unused_netns(self, inodes: Iterable[int]) -> set[int]:
        return namespaces.unused(inodes)

    def netns_cookie(self) -> int:
        return namespaces.cookie()

    def legacy_entries(self, family: int, table: str) -> int:
        return tables.legacy_entries(family, table)

    def nft_rule_tables(self) -> set[tuple[int, str]]:
        return tables.nft_rule_tables()

    def nft_generation(self) -> int:
        try:
            return tables.nft_generation()
        except OSError as error:
            raise kernel_error("ask nf_tables for its last change", error) from error

    def delete_nft_table(self, family: int, name: str, generation: int) -> bool:
        try:
            return tables.delete_nft_table(family, name, generation)
        except OSError as error:
            raise kernel_error(f"delete nf_tables table '{name}'", error) from error

    def mount_bpffs(self, path: Path) -> Path:
        return bpffs.mount(path)

    def reach_bpffs(self, path: Path) -> Path:
        return bpffs.reach(path)

    def unmount_bpffs(self, path: Path) -> None:
        bpffs.unmount(path)

    @contextmanager
    def lock(self, path: Path, timeout_s: float = 0, shared: bool = False) -> Iterator[None]:
        deadline = time.monotonic() + timeout_s
        while (handle := self._lock(path, shared)) is None:
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"another process is changing the rules (it holds {path}); try again"
                )
            time.sleep(_LOCK_POLL_S)
        with handle:
            yield

    def _lock(self, path: Path, shared: bool) -> Fd | None:
        # None if somebody else holds it; also if its holder has just removed the file, for then
        # the next one makes another.
        flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if not shared:
            self.make_directory(path.parent)
        try:
            handle = Fd(os.open(path, flags | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno == errno.ENOENT and not shared:
                return None
            raise kernel_error(f"open the lock {path}", error) from error
        try:
            fcntl.flock(handle.number, kind | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle.number), path.stat()):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        handle.close()
        return None

    def replace_file(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + ".new")
        try:
            with open(temporary, "wb", opener=_private) as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise kernel_error(f"write {path}", error) from error

    def make_directory(self, path: Path) -> None:
        missing = [each for each in (*reversed(path.parents), path) if not each.is_dir()]
        try:
            for each in missing:
                each.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise kernel_error(f"make directory {path}", error) from error

    def list_directory(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise kernel_error(f"list directory {path}", error) from error

    def rename(self, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        except OSError as error:
            raise kernel_error(f"rename {source} to {target.name}", error) from error

    def remove(self, path: Path) -> None:
        try:
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise kernel_error(f"remove {path}", error) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@functools.cache
def _bpf_number() -> int:
    machine = os.uname().machine
    if machine not in syscalls.BPF:
        raise UnsupportedError(f"bpf(2) known to this program on {machine}")
    return syscalls.BPF[machine]


def _possible_cpus() -> frozenset[int]:
    try:
        return host.possible_cpus()
    except OSError as error:
        raise kernel_error("count the CPUs", error) from error


def _raise_memlock() -> bool:
    # Before Linux 5.11 maps and programs count against RLIMIT_MEMLOCK (commit 97306be45fbe,
    # "bpf: Switch to memcg-based memory accounting"). True if there was something to raise.
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return False
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return False
    return True


def _bpf_error(op: str, command: Command, code: int) -> Error:
    if code == errno.ENOSYS:
        return UnsupportedError("bpf(2)", advice="it must be built with CONFIG_BPF_SYSCALL=y")
    if code == errno.EPERM:
        facts = restrict.read_facts()
        needs = restrict.NEEDS.get(command, (restrict.Capability.CAP_BPF,))
        if command is Command.OBJ_PIN and all(facts.has(need) for need in needs):
            return KernelError(op, code, "that directory is not on a mounted bpffs")
        return restrict.explain(op, needs, facts)
    if command is Command.OBJ_GET and code == errno.EACCES:
        return KernelError(op, code, "it is no pinned object, or belongs to somebody else")
    return KernelError(op, errno.EOPNOTSUPP if code == _ENOTSUPP else code)
