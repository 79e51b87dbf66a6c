"""The lock that all iptables share: one of them changes rules at a time.

It is flock(2) on /run/xtables.lock, or on the file that XTABLES_LOCKFILE names (xtables_lock,
iptables/xshared.c), so that iptables-legacy and whoever takes it by hand wait for us, too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bpfilter.errors import BusyError

_PATH = "/run/xtables.lock"
_POLL_S = 0.02
_HELD = "Another app is currently holding the xtables lock."


#: Descriptors of the lock that this process has.
_held: list[int] = []


def held() -> tuple[int, ...]:
    """Give what a program that is run in the middle of something has to inherit: it holds the
    lock then for as long as it runs, though we may be killed."""
    return tuple(_held)


@contextmanager
def xtables_lock(wait_s: float | None) -> Iterator[None]:
    """Hold the lock; wait so long for it, None for ever.

    Raises: BusyError with the words of iptables.
    """
    path = os.environ.get("XTABLES_LOCKFILE") or _PATH
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BusyError(f"Fatal: can't open lock file {path}: {error.strerror}") from error
    try:
        if not _locked(handle, wait_s):
            more = (
                f"Stopped waiting after {wait_s:g}s."
                if wait_s
                else "Perhaps you want to use the -w option?"
            )
            raise BusyError(f"{_HELD} {more}")
        _held.append(handle)
        yield
    finally:
        if handle in _held:
            _held.remove(handle)
        os.close(handle)


def _locked(handle: int, wait_s: float | None) -> bool:
    if wait_s is None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
