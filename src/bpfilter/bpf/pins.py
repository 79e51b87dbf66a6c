"""Pins: names in a bpffs that keep an object alive without a process.

A name is a path of a bpffs, without dots; renaming replaces another pin in one step (bpffs has
rename since Linux 4.4), which is how one object takes the place of another.
"""

from __future__ import annotations

from pathlib import Path

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import c_string


def pin(kernel: Kernel, fd: Fd, path: Path) -> None:
    """Pin an object. Raises: KernelError, EEXIST if the name is taken."""
    name = c_string(path)
    attr = abi.OBJ.pack(pathname=name.address, bpf_fd=fd.number)
    kernel.bpf(Command.OBJ_PIN, attr, f"pin {path}")


def pin_over(kernel: Kernel, fd: Fd, path: Path) -> None:
    """Pin an object under a name, in place of whatever has it now, in one step."""
    temporary = path.with_name(path.name + "-new")
    kernel.remove(temporary)
    pin(kernel, fd, temporary)
    kernel.rename(temporary, path)


def open_pin(kernel: Kernel, path: Path) -> Fd:
    """Open a pinned object. Raises: KernelError, ENOENT if there is none."""
    name = c_string(path)
    attr = abi.OBJ.pack(pathname=name.address)
    return Fd(kernel.bpf(Command.OBJ_GET, attr, f"open pin {path}"))


def remove_tree(kernel: Kernel, path: Path) -> None:
    """Remove a directory of pins with all that is in it; bpffs has no other files."""
    for name in kernel.list_directory(path):
        child = path / name
        if child.is_dir():
            remove_tree(kernel, child)
        else:
            kernel.remove(child)
    kernel.remove(path)
