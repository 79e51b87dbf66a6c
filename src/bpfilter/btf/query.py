"""What programs ask of the kernel's types: where a member lies, how large, which id.

Answers come from BTF, or from a table made of earlier answers (`subset`), with which
programs can be compiled and interpreted where there is no such kernel.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from bpfilter.abi.btf import MODIFIERS, Kind
from bpfilter.btf.model import BtfType, Member, RawMember
from bpfilter.btf.reader import Btf
from bpfilter.errors import AbiError, UnsupportedError

#: `{struct: {"size": bytes, "members": {path: [offset, size(, bit_offset, bit_size)]}}}`
Table = Mapping[str, Mapping[str, object]]

_POINTER_BYTES: Final = struct.calcsize("P")
_STEP: Final = re.compile(r"(\w+)((?:\[\d+\])*)")
_AGGREGATES: Final = (Kind.STRUCT, Kind.UNION)
_DEEPEST: Final = 32  # of nested types; the kernel's own limit (MAX_RESOLVE_DEPTH)


class HasTypes(Protocol):
    """The part of `kernel.api.Kernel` asked here."""

    def vmlinux_btf(self) -> bytes: ...
    def module_btf(self, module: str) -> bytes | None: ...


class KernelTypes:
    """The types of one kernel; answers are kept.

    A path names members from the outside in, `tuplehash[0].tuple.src.u3`; those of
    anonymous structs and unions are named as C names them, without the anonymous one.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._members: dict[tuple[str, str], Member] = {}
        self._ids: dict[tuple[Kind, str], int | None] = {}

    @classmethod
    def from_btf(
        cls,
        vmlinux: bytes,
        module: Callable[[str], bytes | None] | None = None,
        modules: tuple[str, ...] = ("nf_conntrack",),
    ) -> KernelTypes:
        """Answer from BTF; `modules` are asked, by `module(name)`, for what vmlinux lacks."""
        return cls(_FromBtf(vmlinux, module, modules))

    @classmethod
    def of_kernel(cls, kernel: HasTypes) -> KernelTypes:
        """Answer for the running kernel. Raises: UnsupportedError if it keeps no BTF."""
        return cls.from_btf(kernel.vmlinux_btf(), kernel.module_btf)

    @classmethod
    def from_table(cls, table: Table) -> KernelTypes:
        """Answer from what `subset` gave; ids are not known then."""
        return cls(_FromTable(table))

    def offset(self, struct_name: str, path: str) -> Member:
        """Say where a member lies. Raises: UnsupportedError if this kernel has none such."""
        found = self._members.get((struct_name, path))
        if found is None:
            found = self._source.member(struct_name, path)
            if found is None:
                raise UnsupportedError(f"member {path} in its struct {struct_name}")
            self._members[struct_name, path] = found
        return found

    def has(self, struct_name: str, path: str) -> bool:
        try:
            self.offset(struct_name, path)
        except UnsupportedError:
            return False
        return True

    def size(self, struct_name: str) -> int:
        """Give a struct's size in bytes. Raises: UnsupportedError if there is none such."""
        found = self._source.size(struct_name)
        if found is None:
            raise UnsupportedError(f"struct {struct_name}")
        return found

    def find_id(self, kind: Kind, name: str) -> int | None:
        """Give the id of a type (FUNC: a kernel function) in vmlinux, None if there is none."""
        if (kind, name) not in self._ids:
            self._ids[kind, name] = self._source.find_id(kind, name)
        return self._ids[kind, name]

    def type_id(self, kind: Kind, name: str) -> int:
        """As `find_id`. Raises: UnsupportedError if there is none."""
        found = self.find_id(kind, name)
        if found is None:
            raise UnsupportedError(f"{kind.name.lower()} {name}")
        return found

    def subset(self, wanted: Iterable[tuple[str, str]]) -> dict[str, dict[str, object]]:
        """Make a table (JSON can hold it) of (struct, path) pairs; an empty path: size only."""
        sizes: dict[str, int] = {}
        members: dict[str, dict[str, list[int]]] = {}
        for name, path in wanted:
            sizes.setdefault(name, self.size(name))
            if path:
                members.setdefault(name, {})[path] = _to_row(self.offset(name, path))
        return {
            name: {"size": size, "members": members.get(name, {})} for name, size in sizes.items()
        }


class _Source(Protocol):
    def member(self, struct_name: str, path: str) -> Member | None: ...
    def size(self, struct_name: str) -> int | None: ...
    def find_id(self, kind: Kind, name: str) -> int | None: ...


class _FromTable:
    def __init__(self, table: Table) -> None:
        self.table = table

    def member(self, struct_name: str, path: str) -> Member | None:
        members = self.table.get(struct_name, {}).get("members", {})
        if not isinstance(members, Mapping):
            raise AbiError(f"members of {struct_name} are no table")
        row = members.get(path)
        return None if row is None else Member(*row)

    def size(self, struct_name: str) -> int | None:
        size = self.table.get(struct_name, {}).get("size")
        return size if isinstance(size, int) else None

    def find_id(self, kind: Kind, name: str) -> int | None:  # noqa: ARG002 - part of _Source
        return None


class _FromBtf:
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


def _to_row(member: Member) -> list[int]:
    row = [member.offset, member.size]
    return [*row, member.bit_offset, member.bit_size] if member.bit_size else row
