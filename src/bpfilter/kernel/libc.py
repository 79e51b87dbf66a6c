"""Functions of the C library that Python 3.11 has no name for."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from bpfilter.errors import KernelError
from bpfilter.kernel import restrict
from bpfilter.kernel.restrict import Capability

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

# include/uapi/linux/sched.h
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWNET: Final = 0x4000_0000

# include/uapi/linux/mount.h
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8


def setns(namespace: int, kind: int) -> None:
    """setns(2): move this thread. Raises: OSError."""
    _check(LIBC.setns(ctypes.c_int(namespace), ctypes.c_int(kind)))


def unshare(kind: int) -> None:
    """unshare(2): move this thread to a new namespace. Raises: OSError."""
    _check(LIBC.unshare(ctypes.c_int(kind)))


def socket(family: int, kind: int, protocol: int) -> int:
    """socket(2), closed on exec and never waiting; gives the descriptor. Raises: OSError.

    For what needs no more of it than os.read and os.write: the module of this name takes
    longer to import than to ask the kernel something.
    """
    kind |= os.O_CLOEXEC | os.O_NONBLOCK  # SOCK_CLOEXEC and SOCK_NONBLOCK are these
    return _check(LIBC.socket(family, kind, protocol))


def getsockopt(number: int, level: int, option: int, request: bytes) -> bytes:
    """getsockopt(2) of an option that also reads its buffer; gives what is then in it.

    Raises: OSError.
    """
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint(len(request))
    _check(LIBC.getsockopt(number, level, option, ctypes.byref(buffer), ctypes.byref(length)))
    return buffer.raw


def mount(source: str, target: str | os.PathLike[str], kind: str, flags: int, data: str) -> None:
    """mount(2). Raises: OSError."""
    _check(
        LIBC.mount(
            os.fsencode(source),
            os.fsencode(target),
            os.fsencode(kind),
            ctypes.c_ulong(flags),
            os.fsencode(data),
        )
    )


def unmount(target: str | os.PathLike[str]) -> None:
    """umount2(2) without flags. Raises: OSError."""
    _check(LIBC.umount2(os.fsencode(target), ctypes.c_int(0)))


def kernel_error(op: str, error: OSError, *needs: Capability) -> KernelError:
    """Give the error to raise for a failed call; a lack of privilege is explained."""
    code = error.errno or errno.EIO
    if code in (errno.EPERM, errno.EACCES):
        facts = restrict.read_facts()
        if not all(facts.has(capability) for capability in needs):
            return restrict.explain(op, needs, facts, code)
    return KernelError(op, code)


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
