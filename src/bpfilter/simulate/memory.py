"""Kernel structs in the interpreter's memory, written by the names of their members."""

from __future__ import annotations

from bpfilter.asm.memory import Memory
from bpfilter.btf.query import KernelTypes


class Struct:
    """A kernel struct at an address of its own; members nobody set read as zero."""

    def __init__(self, memory: Memory, types: KernelTypes, name: str, extra: int = 0) -> None:
        """`extra` bytes follow it, for arrays a struct ends with."""
        self.types = types
        self.name = name
        region = memory.add(f"struct {name}", types.size(name) + extra, writable=False)
        self.address = region.base
        self.data = region.data

    def __setitem__(self, path: str, value: int) -> None:
        """Set a number, little-endian; bits of a bit field leave their neighbours alone."""
        member = self.types.offset(self.name, path)
        start, end = member.offset, member.offset + member.size
        if member.bit_size:
            mask = (1 << member.bit_size) - 1 << member.bit_offset
            old = int.from_bytes(self.data[start:end], "little")
            value = old & ~mask | value << member.bit_offset & mask
        self.data[start:end] = value.to_bytes(member.size, "little")

    def put(self, path: str, value: bytes) -> None:
        """Set a member of bytes: a name, a number in network order."""
        member = self.types.offset(self.name, path)
        assert len(value) == member.size, path
        self.data[member.offset : member.offset + member.size] = value

    def at(self, path: str) -> int:
        """Give the address of a member."""
        return self.address + self.types.offset(self.name, path).offset
