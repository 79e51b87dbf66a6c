"""A bpffs where every process of this machine finds it: in pid 1's mount namespace.

`ip netns exec` gives its command a mount namespace of its own with a fresh /sys, so
the host's /sys/fs/bpf is hidden there, and a bpffs mounted inside goes away with the
command, with every pin and link in it. A child process therefore joins pid 1's mount
namespace and mounts there (setns(2) to a mount namespace is for a process with one
thread, which a child after fork is); others reach the place through /proc/1/root.

Where pid 1 may not be looked at (a container's root with fewer capabilities than it),
the oldest ancestor of ours that may be stands in for it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from bpfilter.abi.bpf import FS_TYPE
from bpfilter.errors import KernelError
from bpfilter.kernel import host, libc
from bpfilter.kernel.restrict import Capability


def anchor() -> int:
    """Give pid 1, or the oldest ancestor whose mount namespace we may enter."""
    if _may_enter(1):
        return 1
    lineage = [os.getpid()]
    while (parent := host.parent_of(lineage[-1])) > 1:
        lineage.append(parent)
    return next(filter(_may_enter, reversed(lineage)), lineage[0])


def _may_enter(pid: int) -> bool:
    return os.access(f"/proc/{pid}/ns/mnt", os.R_OK)


def reach(path: Path) -> Path:
    """Give the path by which this process reaches a path of pid 1's mount namespace."""
    pid = anchor()
    if host.is_same_namespace("mnt", pid):
        return path
    return Path(f"/proc/{pid}/root") / path.relative_to("/")


def is_mounted(path: Path) -> bool:
    """Whether pid 1 sees a bpffs mounted exactly there."""
    try:
        device = reach(path).stat().st_dev
        mountinfo = Path(f"/proc/{anchor()}/mountinfo").read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise libc.kernel_error("look at the mounts of process 1", error) from error
    return host.mount_type(mountinfo, path, device) == FS_TYPE


def mount(path: Path) -> Path:
    """Mount a bpffs there unless there is one; give the path by which we reach it."""
    if not is_mounted(path):
        _in_host_mounts(f"mount a bpffs at {path}", lambda: _make(path))
    return reach(path)


def unmount(path: Path) -> None:
    """Undo `mount`; pins still in it go away. No bpffs there is fine."""
    if is_mounted(path):
        _in_host_mounts(f"unmount the bpffs at {path}", lambda: libc.unmount(path))


def _make(path: Path) -> None:
    for directory in (path.parent, path):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A second mount, by another process at the same time, would hide what is pinned in the first.
    lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not is_mounted(path):
        flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
        libc.mount(FS_TYPE, path, FS_TYPE, flags, "mode=0700")


def _in_host_mounts(op: str, action: Callable[[], None]) -> None:
    # In a child process; its exit status is the errno of what failed, 0 for success.
    pid = anchor()
    child = os.fork()
    if child == 0:
        status = 255
        try:
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            libc.setns(namespace, libc.CLONE_NEWNS)
            action()
            status = 0
        except OSError as error:
            status = error.errno or 255
        finally:
            os._exit(status)
    _, wait_status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(wait_status)
    if code < 0:
        raise KernelError(op, -code, "the process doing it was killed")
    if code:
        failed = OSError(code, os.strerror(code))
        raise libc.kernel_error(op, failed, Capability.CAP_SYS_ADMIN)
