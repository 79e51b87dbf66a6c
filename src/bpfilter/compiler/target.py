"""What a compilation is for: the running kernel, or the model the interpreter has of one."""

from __future__ import annotations

from bpfilter.btf.query import KernelTypes
from bpfilter.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Quirks:
    """Behaviour of x_tables that differs between kernels of today; kept, whichever it is.

    `exthdr_bounded`: ipv6_find_hdr() fails at an extension header that claims to reach past
    the end of the packet ("ipv6: do not let ipv6_find_hdr() return an offset past the packet
    end", in stable releases of 2026); before, it went on behind the end.
    """

    exthdr_bounded: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """CPU numbers are less than `cpus`; `hz` is the kernel's ticks per second."""

    types: KernelTypes
    cpus: int
    hz: int
    quirks: Quirks = Quirks()
