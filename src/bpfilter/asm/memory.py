"""The interpreter's memory: regions of bytes at 64-bit addresses, every access checked.

Each region has a window of 4 GB to itself, so the upper half of an address says which
region it is in and the lower half where; a pointer that strays meets nothing and is
found out. Numbers in memory are little-endian, as the interpreter's machine is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from bpfilter.asm.insn import U32, U64
from bpfilter.errors import InterpError

# Addresses look like a kernel's: the upper 17 bits set.
_FIRST_ADDRESS: Final = 0xFFFF_8880_0000_0000

_WINDOW: Final = 1 << 32
_FORMAT: Final = {
    1: struct.Struct("<B"),
    2: struct.Struct("<H"),
    4: struct.Struct("<I"),
    8: struct.Struct("<Q"),
}

#: Called after a write with the offset in the region.
WriteObserver = Callable[[int], None]


class Region:
    """A stretch of memory; `data` may be changed and resized between runs, in place.

    Reading a `faultless` region beyond its end gives 0, as a load does that the verifier
    marks BPF_PROBE_MEM: the fault handler of the kernel clears the register.
    """

    __slots__ = ("base", "data", "faultless", "name", "on_write", "writable")

    def __init__(
        self, name: str, base: int, data: bytearray, writable: bool, faultless: bool
    ) -> None:
        self.name = name
        self.base = base
        self.data = data
        self.writable = writable
        self.faultless = faultless
        self.on_write: WriteObserver | None = None

    def __repr__(self) -> str:
        return f"<Region {self.name} at {self.base:#x}, {len(self.data)} bytes>"


class Memory:
    """All regions one or more machines work on."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}  # by the upper half of the address
        self._readable: dict[int, bytearray] = {}
        self._writable: dict[int, bytearray] = {}  # those nobody watches, for speed
        self._next = _FIRST_ADDRESS

    def add(
        self,
        name: str,
        data: bytes | bytearray | int,
        *,
        writable: bool = True,
        faultless: bool = False,
        base: int | None = None,
    ) -> Region:
        """Make a region of the given bytes, or of that many zeros.

        A bytearray is used itself, not copied. `base` must be a multiple of 4 GB; address
        0 with `faultless` makes loads through a null pointer give 0.
        """
        if base is None:
            base = self._next
            self._next += _WINDOW
        key = base >> 32
        if base % _WINDOW or not 0 <= base <= U64 or key in self._regions:
            raise InterpError(f"region {name} cannot be at {base:#x}")
        content = data if isinstance(data, bytearray) else bytearray(data)
        region = Region(name, base, content, writable, faultless)
        self._regions[key] = region
        self._readable[key] = content
        if writable:
            self._writable[key] = content
        return region

    def remove(self, region: Region) -> None:
        """Take a region away; its address is not used again."""
        key = region.base >> 32
        del self._regions[key], self._readable[key]
        self._writable.pop(key, None)

    def watch(self, region: Region, observer: WriteObserver) -> None:
        """Call `observer` after every write to a region, with the offset written to."""
        region.on_write = observer
        self._writable.pop(region.base >> 32, None)

    def find(self, address: int) -> tuple[Region, int] | None:
        """Give the region whose window holds an address, and the offset in it."""
        region = self._regions.get(address >> 32)
        return None if region is None else (region, address & U32)

    def loader(self, nbytes: int) -> Callable[[int], int]:
        """Give a function that reads an unsigned number of 1, 2, 4 or 8 bytes at an address."""
        unpack, readable = _FORMAT[nbytes].unpack_from, self._readable

        def load(address: int) -> int:
            try:
                value: int = unpack(readable[address >> 32], address & U32)[0]
                return value
            except (KeyError, struct.error):
                return int.from_bytes(self.read(address, nbytes), "little")

        return load

    def storer(self, nbytes: int) -> Callable[[int, int], None]:
        """Give a function that writes the low bytes of a number at an address."""
        pack, writable = _FORMAT[nbytes].pack_into, self._writable
        mask = (1 << nbytes * 8) - 1

        def store(address: int, value: int) -> None:
            try:
                pack(writable[address >> 32], address & U32, value & mask)
            except (KeyError, struct.error):
                self.write(address, (value & mask).to_bytes(nbytes, "little"))

        return store

    def read(self, address: int, nbytes: int) -> bytes:
        """Read bytes. Raises: InterpError if any is outside its region."""
        address &= U64
        place = self.find(address)
        if place is None:
            raise InterpError(f"read of {nbytes} bytes at {address:#x}, where nothing is")
        region, offset = place
        if offset + nbytes <= len(region.data):
            return bytes(region.data[offset : offset + nbytes])
        if region.faultless:
            return bytes(nbytes)
        raise InterpError(_beyond("read", region, offset, nbytes))

    def write(self, address: int, data: bytes) -> None:
        """Write bytes. Raises: InterpError if any is outside its region, or it is read-only."""
        address &= U64
        place = self.find(address)
        if place is None:
            raise InterpError(f"write of {len(data)} bytes at {address:#x}, where nothing is")
        region, offset = place
        if not region.writable:
            raise InterpError(f"write to {region.name}+{offset}, which is read-only")
        if offset + len(data) > len(region.data):
            raise InterpError(_beyond("write", region, offset, len(data)))
        region.data[offset : offset + len(data)] = data
        if region.on_write is not None:
            region.on_write(offset)


def _beyond(what: str, region: Region, offset: int, nbytes: int) -> str:
    size = len(region.data)
    where = f"{region.name}+{offset}" if offset < 1 << 31 else f"{region.name}{offset - (1 << 32)}"
    return f"{what} of {nbytes} bytes at {where}, which has {size} bytes"
