"""Memory whose address the kernel may be given."""

from __future__ import annotations

import ctypes
import os


class Memory:
    """`data` at a fixed address for as long as this object lives.

    Made of a number: that many zero bytes. Made of bytes: a copy of them.
    """

    __slots__ = ("_pinned", "data")

    def __init__(self, content: int | bytes | bytearray | memoryview) -> None:
        self.data = bytearray(content)
        self._pinned = (ctypes.c_char * len(self.data)).from_buffer(self.data)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._pinned)

    def __len__(self) -> int:
        return len(self.data)

    def __bytes__(self) -> bytes:
        return bytes(self.data)


def c_string(text: str | os.PathLike[str]) -> Memory:
    """Give text or a path as the kernel reads it, with a NUL at its end."""
    return Memory(os.fsencode(text) + b"\0")
