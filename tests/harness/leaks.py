"""Nothing left behind: descriptors, programs, maps and links."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def open_descriptors() -> dict[int, str]:
    """Give this process's descriptors and what each is of."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one used for listing
            continue
    return found


@contextmanager
def no_leaked_descriptors() -> Iterator[None]:
    """Fail if a block leaves descriptors open that were not before."""
    before = open_descriptors()
    yield
    gc.collect()
    left = {n: of for n, of in open_descriptors().items() if before.get(n) != of}
    assert not left, f"descriptors left open: {left}"
