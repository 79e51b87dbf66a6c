"""Waiting for what comes in its own time: the kernel's deferred work, another process."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], what: str, seconds: float = 5.0) -> None:
    """Return as soon as a condition holds; fail, naming it, if it never does.

    A link whose last pin is unlinked or unmounted is at its hook until the kernel has let go
    of it: after an RCU grace period, in a worker (bpf_free_inode() in kernel/bpf/inode.c,
    bpf_link_put() in kernel/bpf/syscall.c). Detaching, and closing the last descriptor, is
    done at once.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
