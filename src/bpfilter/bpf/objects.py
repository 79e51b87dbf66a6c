"""What maps, programs and links have in common: an id, a description, a name, an end."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command
from bpfilter.abi.layout import Struct
from bpfilter.bpf import pins
from bpfilter.errors import KernelError
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory


class KernelObject:
    """An object behind a descriptor of ours; it lives on while pinned or in use."""

    def __init__(self, kernel: Kernel, fd: Fd, name: str = "") -> None:
        self.kernel = kernel
        self.fd = fd
        self.name = name

    def pin(self, path: Path) -> None:
        """Keep it alive under a bpffs path. Raises: KernelError, EEXIST if that is taken."""
        pins.pin(self.kernel, self.fd, path)

    def close(self) -> None:
        self.fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name or '?'}, {self.fd!r})"


def name_bytes(name: str) -> bytes:
    """Give a name as the kernel takes it: at most 15 of letters, digits, `_` and `.`."""
    kept = (c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return "".join(kept).encode()[: abi.OBJ_NAME_BYTES - 1]


def read_info(kernel: Kernel, fd: Fd, layout: Struct, op: str) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: as much of the struct as this kernel knows."""
    memory = Memory(layout.size)
    attr = abi.OBJ_INFO.pack(bpf_fd=fd.number, info_len=layout.size, info=memory.address)
    kernel.bpf(Command.OBJ_GET_INFO_BY_FD, attr, op)
    return bytes(memory)[: abi.OBJ_INFO.get(attr, "info_len")]


def iterate_ids(kernel: Kernel, command: Command, op: str) -> Iterator[int]:
    """Walk the ids of all programs, maps or links of this machine (BPF_*_GET_NEXT_ID)."""
    current = 0
    while True:
        attr = abi.OBJ_ID.pack(start_id=current)
        try:
            kernel.bpf(command, attr, op)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        current = abi.OBJ_ID.get(attr, "next_id")
        yield current


def open_id(kernel: Kernel, command: Command, number: int, op: str) -> Fd:
    """Open an object by id. Raises: KernelError, ENOENT if it is gone."""
    return Fd(kernel.bpf(command, abi.OBJ_ID.pack(start_id=number), op))
