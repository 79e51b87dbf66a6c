"""C structs as data: name, offset and kind of each field, declared once.

Byte order is the machine's own, as for everything that passes a system call;
network-order fields are bytes here, and their users convert them.
"""

from __future__ import annotations

import struct
from typing import Final

from bpfilter.dataclass import dataclass
from bpfilter.errors import AbiError

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Field:
    """A field `offset` bytes into its struct; `code` is its letter in the struct module."""

    name: str
    offset: int
    code: str

    @property
    def width(self) -> int:
        return struct.calcsize("=" + self.code)


def u8(name: str, offset: int) -> Field:
    return Field(name, offset, "B")


def u16(name: str, offset: int) -> Field:
    return Field(name, offset, "H")


def u32(name: str, offset: int) -> Field:
    return Field(name, offset, "I")


def s32(name: str, offset: int) -> Field:
    return Field(name, offset, "i")


def u64(name: str, offset: int) -> Field:
    return Field(name, offset, "Q")


def raw(name: str, offset: int, width: int) -> Field:
    """Bytes: a name padded with NULs, a tag, a network-order value."""
    return Field(name, offset, f"{width}s")


class Struct:
    """A C struct of `size` bytes; fields that nobody here uses need not be declared."""

    def __init__(self, name: str, size: int, *fields: Field) -> None:
        self.name: Final = name
        self.size: Final = size
        self.fields: Final = {field.name: field for field in fields}
        assert len(self.fields) == len(fields), name
        assert all(field.offset + field.width <= size for field in fields), name

    def __repr__(self) -> str:
        return f"Struct({self.name}, {self.size} bytes)"

    def pack(self, **values: int | bytes) -> bytearray:
        """Give the struct with these values, all else zero.

        Raises: AbiError if a value does not fit its field.
        """
        out = bytearray(self.size)
        for name, value in values.items():
            field = self.fields[name]
            if isinstance(value, bytes) and len(value) > field.width:
                raise AbiError(
                    f"{name} takes {field.width} bytes, not {len(value)}", self.name, field.offset
                )
            try:
                struct.pack_into("=" + field.code, out, field.offset, value)
            except struct.error as error:
                raise AbiError(f"{name}: {error}", self.name, field.offset) from error
        return out

    def get(self, data: Bytes, name: str) -> int:
        """Read a number; 0 if the data ends before it (an older kernel does not know it)."""
        field = self.fields[name]
        view = memoryview(data)
        if field.offset + field.width > len(view):
            return 0
        value = struct.unpack_from("=" + field.code, view, field.offset)[0]
        assert isinstance(value, int), name
        return value

    def get_bytes(self, data: Bytes, name: str) -> bytes:
        """Read a field of bytes, as many as there are."""
        field = self.fields[name]
        return bytes(memoryview(data)[field.offset : field.offset + field.width])

    def get_text(self, data: Bytes, name: str) -> str:
        """Read a name padded with NULs."""
        return self.get_bytes(data, name).split(b"\0", 1)[0].decode("utf-8", "replace")
