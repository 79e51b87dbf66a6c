"""Types as values, as BTF records them."""

from __future__ import annotations

import sys

from bpfilter.abi.btf import Kind
from bpfilter.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class RawMember:
    """struct btf_member: `bit_offset` in its struct; `bit_size` is 0 unless a bit field."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int


@dataclass(frozen=True, slots=True)
class BtfType:
    """One record.

    `size` in bytes is 0 where the kind has none; `target` is the type pointed to, named
    or repeated; `length` the number of elements of an array.
    """

    id: int
    kind: Kind
    name: str
    size: int
    target: int
    length: int = 0
    members: tuple[RawMember, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies: load `size` bytes at `offset`.

    A bit field is then `(loaded >> shift) & mask`; `size` is 1, 2, 4 or 8 and just large
    enough, `bit_offset` counts from the start of those bytes as the machine numbers bits.
    For all others `bit_size` is 0, and `size` whatever the member has.
    """

    offset: int
    size: int
    bit_offset: int = 0
    bit_size: int = 0

    @property
    def shift(self) -> int:
        if sys.byteorder == "little" or not self.bit_size:
            return self.bit_offset
        return self.size * 8 - self.bit_offset - self.bit_size

    @property
    def mask(self) -> int:
        return (1 << (self.bit_size or self.size * 8)) - 1
