"""System call numbers of the calls that the C library has no function for.

Source: arch/*/entry/syscalls/syscall*.tbl and include/uapi/asm-generic/unistd.h.
Machines are named as `uname -m` names them.
"""

from __future__ import annotations

from typing import Final

_GENERIC: Final = 280  # asm-generic/unistd.h: every architecture added since 2012

BPF: Final = {
    "x86_64": 321,
    "i386": 357,
    "i686": 357,
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "riscv32": _GENERIC,
    "loongarch64": _GENERIC,
    "armv6l": 386,
    "armv7l": 386,
    "armv8l": 386,
    "ppc64": 361,
    "ppc64le": 361,
    "s390x": 351,
    "sparc64": 349,
    "mips64": 5315,
}
