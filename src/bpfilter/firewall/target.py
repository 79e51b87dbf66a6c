"""What rules are compiled for: the running kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bpfilter.compiler.target import Target
from bpfilter.firewall.quirks import quirks
from bpfilter.firewall.store import state_directory
from bpfilter.firewall.types import known_types
from bpfilter.kernel.api import Kernel


@contextmanager
def this_kernel(kernel: Kernel) -> Iterator[Target]:
    """Give what to compile for in a `with` block; what is asked of its types is kept."""
    directory = state_directory(kernel)
    with known_types(kernel, directory) as types:
        cpus, hz = kernel.cpu_numbers(), kernel.clock_hz()
        yield Target(types, cpus, hz, quirks(kernel, directory))
