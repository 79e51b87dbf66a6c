"""Structs and their members found in BTF: in vmlinux's, and in that of modules."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from typing import Final

from bpfilter.abi.btf import MODIFIERS, Kind
from bpfilter.btf.model import BtfType, Member, RawMember
from bpfilter.btf.reader import Btf
from bpfilter.errors import AbiError

_POINTER_BYTES: Final = struct.calcsize("P")
_STEP: Final = re.compile(r"(\w+)((?:\[\d+\])*)")
_AGGREGATES: Final = (Kind.STRUCT, Kind.UNION)
_DEEPEST: Final = 32  # of nested types; the kernel's own limit (MAX_RESOLVE_DEPTH)


class BtfSource:
    """Answers to what `query.KernelTypes` asks, from BTF."""

    def __init__(
        self,
        vmlinux: bytes,
        module: Callable[[str], bytes | None] | None,
        modules: tuple[str, ...],
    ) -> None:
        self.vmlinux = Btf(vmlinux)
        self.read_module = module
        self.unread = list(modules) if module else []
        self.modules: list[Btf] = []
        self.structs: dict[str, tuple[Btf, BtfType] | None] = {}

    def size(self, struct_name: str) -> int | None:
        found = self._struct(struct_name)
        return None if found is None else found[1].size

    def find_id(self, kind: Kind, name: str) -> int | None:
        found = self.vmlinux.find(kind, name)
        return None if found is None else found.id

    def member(self, struct_name: str, path: str) -> Member | None:
        found = self._struct(struct_name)
        if found is None:
            return None
        btf, current = found
        bits, bit_size, size = 0, 0, current.size
        for step in path.split("."):
            parsed = _STEP.fullmatch(step)
            if parsed is None:
                raise AbiError(f"not a path of members: {path}")
            inside = _find_member(btf, current, parsed[1])
            if inside is None:
                return None
            bits += inside.bit_offset
            bit_size = inside.bit_size
            current = _resolve(btf, inside.type_id)
            for index in re.findall(r"\d+", parsed[2]):
                if current.kind is not Kind.ARRAY or int(index) >= current.length:
                    return None
                current = _resolve(btf, current.target)
                bits += int(index) * _size(btf, current) * 8
            size = _size(btf, current)
        return _bit_field(bits, bit_size) if bit_size else Member(bits // 8, size)

    def _struct(self, name: str) -> tuple[Btf, BtfType] | None:
        if name not in self.structs:
            self.structs[name] = self._search(name)
        return self.structs[name]

    def _search(self, name: str) -> tuple[Btf, BtfType] | None:
        for btf in self._layers():
            for kind in (*_AGGREGATES, Kind.TYPEDEF):
                found = btf.find(kind, name)
                if found is not None:
                    resolved = _resolve(btf, found.id)
                    if resolved.kind in _AGGREGATES:
                        return btf, resolved
        return None

    def _layers(self) -> Iterable[Btf]:
        yield self.vmlinux
        yield from self.modules
        while self.unread and self.read_module:
            data = self.read_module(self.unread.pop(0))
            if data is not None:
                self.modules.append(Btf(data, self.vmlinux))
                yield self.modules[-1]


def _find_member(btf: Btf, outer: BtfType, name: str, depth: int = 0) -> RawMember | None:
    # Members of anonymous structs and unions count as the outer one's.
    if depth > _DEEPEST:
        raise AbiError(f"types nest deeper than {_DEEPEST}", outer.name)
    for member in outer.members:
        if member.name == name:
            return member
        if member.name:
            continue
        inside = _find_member(btf, _resolve(btf, member.type_id), name, depth + 1)
        if inside is not None:
            bit_offset = member.bit_offset + inside.bit_offset
            return RawMember(name, inside.type_id, bit_offset, inside.bit_size)
    return None


def _resolve(btf: Btf, type_id: int) -> BtfType:
    # The type behind typedefs and qualifiers.
    for _ in range(_DEEPEST):
        found = btf.type(type_id)
        if found.kind not in MODIFIERS:
            return found
        type_id = found.target
    raise AbiError(f"type {type_id} never resolves", "btf_type")


def _size(btf: Btf, of: BtfType, depth: int = 0) -> int:
    if depth > _DEEPEST:
        raise AbiError(f"types nest deeper than {_DEEPEST}", of.name)
    if of.kind is Kind.PTR:
        return _POINTER_BYTES
    if of.kind is Kind.ARRAY:
        return of.length * _size(btf, _resolve(btf, of.target), depth + 1)
    return of.size


def _bit_field(bits: int, bit_size: int) -> Member:
    # The smallest aligned load that holds it; bit fields do not cross their declared type.
    for size in (1, 2, 4, 8):
        offset = bits // 8 // size * size
        if bits + bit_size <= (offset + size) * 8:
            return Member(offset, size, bits - offset * 8, bit_size)
    raise AbiError(f"bit field of {bit_size} bits at bit {bits}", "btf_member")
