"""Blueprints of maps and programs: plain values, the same for the same input everywhere.

What depends on the running kernel (descriptors, BTF ids) comes in when a `Map` or a
`Program` is made from one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfilter.abi.bpf import AttachType, MapFlags, MapType, ProgramType
from bpfilter.dataclass import dataclass

if TYPE_CHECKING:
    from bpfilter.asm.insn import Insn

_ONLY_ATTACH_TYPE = {
    ProgramType.NETFILTER: AttachType.NETFILTER,
    ProgramType.XDP: AttachType.XDP,
}


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map to be made.

    `contents` is what an array begins with: its memory image, entry after entry at a
    stride of `stride` bytes; a shorter one leaves the rest zero. `inner` is the template
    of the maps in an array or hash of maps.
    """

    name: str
    type: MapType
    key_bytes: int
    value_bytes: int
    entries: int
    flags: MapFlags | int = 0
    contents: bytes | None = None
    inner: MapSpec | None = None

    def __post_init__(self) -> None:
        if self.contents is not None:
            assert self.type is MapType.ARRAY, f"{self.name}: only a plain array has contents"
            assert len(self.contents) <= self.stride * self.entries, f"{self.name}: too long"

    @property
    def stride(self) -> int:
        """Bytes from one value to the next in memory, in mmap and in per-CPU values."""
        return (self.value_bytes + 7) & ~7

    @property
    def is_mmapable(self) -> bool:
        return bool(self.flags & MapFlags.MMAPABLE)


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program to be loaded; labels, maps and kernel functions in it are still names."""

    name: str
    type: ProgramType
    insns: tuple[Insn, ...]
    license: str = "GPL"
    attach_type: AttachType | None = None

    @property
    def expected_attach_type(self) -> int:
        """What to tell the kernel: as given, or the only one this program type has."""
        return self.attach_type or _ONLY_ATTACH_TYPE.get(self.type) or 0
