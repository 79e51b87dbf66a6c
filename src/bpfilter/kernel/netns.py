"""Network namespaces: entering one for a while, and telling them apart."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfilter.errors import KernelError
from bpfilter.kernel import host, libc
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.restrict import Capability

_OWN = Path("/proc/thread-self/ns/net")
_NAMED = Path("/run/netns")  # where ip-netns(8) keeps them
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h
#: What most of the open files of a busy machine are, which takes little to see.
_NO_FILES = ("socket:[", "pipe:[", "anon_inode:")
_AF_UNIX, _SOCK_DGRAM = 1, 2
_SOL_SOCKET, _SO_NETNS_COOKIE = 1, 71  # include/uapi/asm-generic/socket.h


def path_of(netns: str | os.PathLike[str]) -> Path:
    """Give the path of a namespace: a word is a name known to `ip netns`."""
    text = os.fspath(netns)
    return Path(text) if "/" in text else _NAMED / text


@contextmanager
def entered(netns: str | os.PathLike[str]) -> Iterator[None]:
    """Move this thread to a namespace for a `with` block."""
    with _opened(_OWN, "this network namespace") as home:
        with _opened(path_of(netns), f"network namespace {netns}") as away:
            _enter(away, f"enter network namespace {netns}")
        try:
            yield
        finally:
            _enter(home, "return to the network namespace we came from")


@contextmanager
def scratch() -> Iterator[None]:
    """Move this thread to a new network namespace for a `with` block; then it goes away."""
    with _opened(_OWN, "this network namespace") as home:
        try:
            libc.unshare(libc.CLONE_NEWNET)
        except OSError as error:
            op = "make a network namespace"
            raise libc.kernel_error(op, error, Capability.CAP_SYS_ADMIN) from error
        try:
            yield
        finally:
            _enter(home, "return to the network namespace we came from")


def inode() -> int:
    """Give the inode of this thread's namespace."""
    try:
        return _OWN.stat().st_ino
    except OSError as error:
        raise libc.kernel_error("look at the network namespace", error) from error


def is_ours() -> bool:
    """Say whether this thread's namespace belongs to the user namespace we are in."""
    try:
        with (
            _opened(_OWN, "this network namespace") as network,
            Fd(fcntl.ioctl(network.number, _NS_GET_USERNS)) as owner,
        ):
            return os.path.samestat(os.fstat(owner.number), os.stat("/proc/self/ns/user"))
    except OSError as error:
        raise libc.kernel_error("ask whose network namespace this is", error) from error


def unused(inodes: Iterable[int]) -> set[int]:
    """Give those of some namespaces that no process is in, sees mounted, or holds open.

    Raises: KernelError where not all processes can be seen.
    """
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_PID_NAMESPACE:
        raise KernelError(
            "see which network namespaces are in use",
            errno.EPERM,
            "only the initial PID namespace sees all processes",
        )
    left = set(inodes)
    # From what is looked up at once to what takes a file for each open file of the machine.
    for found in (_entered(), _mounted(), _held_open()):
        for inode in found:
            left.discard(inode)
            if not left:
                return left
    return left


def _entered() -> Iterator[int]:
    for process in _processes():
        for task in _entries(f"{process}/task"):
            with contextlib.suppress(OSError):
                yield os.stat(f"{task}/ns/net").st_ino


def _mounted() -> Iterator[int]:
    views: set[str] = set()
    for process in _processes():
        with contextlib.suppress(OSError):
            view = os.readlink(f"{process}/ns/mnt")
            if view not in views:
                mountinfo = Path(process, "mountinfo").read_text("utf-8", "surrogateescape")
                yield from host.mounted_namespaces(mountinfo)
                views.add(view)


def _held_open() -> Iterator[int]:
    # Of any file system: one too many is taken to be in use. The file itself is not touched,
    # as it may be on a server that does not answer.
    for process in _processes():
        for link in _entries(f"{process}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(_NO_FILES):
                    continue
            with (
                contextlib.suppress(OSError),
                open(link.replace("/fd/", "/fdinfo/"), "rb") as info,
            ):
                found = re.search(rb"^ino:\t(\d+)$", info.read(), re.MULTILINE)
                if found:
                    yield int(found[1])


# Paths as text: there are thousands, and a Path of each takes longer than looking at it.
def _processes() -> list[str]:
    return [path for path in _entries("/proc") if path[-1].isdigit()]


# Of what may be gone by the time we look.
def _entries(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    return []


def cookie() -> int:
    """Give this thread's namespace's cookie, 0 on a kernel that tells none."""
    with Fd(libc.socket(_AF_UNIX, _SOCK_DGRAM, 0)) as probe:
        try:
            data = libc.getsockopt(probe.number, _SOL_SOCKET, _SO_NETNS_COOKIE, bytes(8))
        except OSError:
            return 0
    return int.from_bytes(data, sys.byteorder)


def _opened(path: Path, what: str) -> Fd:
    try:
        return Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        raise KernelError(
            f"open {what}", errno.ENOENT, "`ip netns list` shows those there are"
        ) from None
    except OSError as error:
        raise libc.kernel_error(f"open {what}", error, Capability.CAP_SYS_ADMIN) from error


def _enter(namespace: Fd, op: str) -> None:
    try:
        libc.setns(namespace.number, libc.CLONE_NEWNET)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise KernelError(op, errno.EINVAL, "this file is no network namespace") from error
        raise libc.kernel_error(op, error, Capability.CAP_SYS_ADMIN) from error
