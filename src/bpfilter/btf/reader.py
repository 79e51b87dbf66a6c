"""BTF bytes to types, found by name or id; most of the bytes are never looked at.

A kernel has some 130,000 types. Records have different lengths, so that an id says
nothing about the place; walking them one by one in Python takes 160 ms. Instead, regular
expressions that match runs of 32 and of 8 records go over them (25 ms), and the place
of each run is kept. A name is found by searching for its bytes.
"""

from __future__ import annotations

import re
import struct
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from bpfilter.abi import btf as abi
from bpfilter.abi.btf import Kind
from bpfilter.abi.layout import Struct
from bpfilter.btf.model import BtfType, RawMember
from bpfilter.errors import AbiError

_ORDER: Final = "<" if sys.byteorder == "little" else ">"
_TYPE: Final = struct.Struct(_ORDER + "III")
_MEMBER: Final = struct.Struct(_ORDER + "III")
_ARRAY: Final = struct.Struct(_ORDER + "III")
_WORD: Final = struct.Struct(_ORDER + "I")
_NEAR_BYTES: Final = 1 << 16
_KIND_BYTE: Final = 7 if sys.byteorder == "little" else 4  # of struct btf_type
_RUN_LENGTHS: Final = (32, 8)  # records matched at once
_MOST_ITEMS: Final = 24  # of a record matched so; longer ones are stepped over one by one


class Btf:
    """Type information of vmlinux, or of a module on top of it (`base`).

    Raises: AbiError from every method, if the bytes are not what they should be.
    """

    def __init__(self, data: bytes, base: Btf | None = None) -> None:
        header = abi.HEADER
        if len(data) < header.size or header.get(data, "magic") != abi.MAGIC:
            raise AbiError("not BTF", "btf_header")
        if header.get(data, "version") != abi.VERSION:
            raise AbiError(f"version {header.get(data, 'version')}", "btf_header", 2)
        start = header.get(data, "hdr_len")
        self._types = _section(data, start, header, "type")
        self._strings = _section(data, start, header, "str")
        self._base: Btf | None = base
        self.first_id = base.end_id if base else 1
        self._first_name = base._end_name if base else 0
        self._end_name: int = self._first_name + len(self._strings)
        self._last_func = 0
        self._run_ids, self._run_places = _index(self._types)
        self.end_id: int = self.first_id + self._run_ids.pop()
        self._run_places.pop()

    def type(self, type_id: int) -> BtfType:
        """Read a type by id; id 0 is void."""
        if type_id == 0:
            return BtfType(0, Kind.VOID, "", 0, 0)
        if type_id < self.first_id and self._base is not None:
            return self._base.type(type_id)
        if not self.first_id <= type_id < self.end_id:
            raise AbiError(f"no type {type_id}", "btf_type")
        number = type_id - self.first_id
        run = bisect_right(self._run_ids, number) - 1
        place = self._run_places[run]
        for _ in range(number - self._run_ids[run]):
            place = _next(self._types, place)
        return self._read(type_id, place)

    def find(self, kind: Kind, name: str) -> BtfType | None:
        """Find a type by kind and name, None if there is none; of several structs the first."""
        for name_off in self._name_offsets(name):
            found = self._find_record(kind, name_off)
            if found is not None:
                return found
        return self._base.find(kind, name) if self._base else None

    def types(self) -> Iterator[BtfType]:
        """Walk all types, without the base's."""
        place = 0
        for type_id in range(self.first_id, self.end_id):
            yield self._read(type_id, place)
            place = _next(self._types, place)

    def name(self, offset: int) -> str:
        """Read a name by its place in the strings; 0 is the empty name."""
        if offset < self._first_name and self._base is not None:
            return self._base.name(offset)
        place = offset - self._first_name
        end = self._strings.find(b"\0", place)
        if not 0 <= place < len(self._strings) or end < 0:
            raise AbiError(f"no name at {offset}", "btf_header", offset)
        return self._strings[place:end].decode("ascii", "replace")

    def _name_offsets(self, name: str) -> list[int]:
        # Strings are unique; a module's type may bear a name from its base's strings.
        offsets = self._base._name_offsets(name) if self._base else []
        place = self._strings.find(b"\0" + name.encode() + b"\0")
        if place >= 0:
            offsets.append(self._first_name + place + 1)
        elif self._first_name and self._strings.startswith(name.encode() + b"\0"):
            offsets.append(self._first_name)
        return offsets

    def _find_record(self, kind: Kind, name_off: int) -> BtfType | None:
        # Kernel functions are thousands of records in, near one another: look from the
        # last one on first. (2 ms are saved for each.)
        near = self._last_func if kind is Kind.FUNC else 0
        place = self._find_place(kind, name_off, near)
        if place is None and near:
            place = self._find_place(kind, name_off, 0)
        if place is None:
            return None
        if kind is Kind.FUNC:
            self._last_func = max(0, place - _NEAR_BYTES)
        number = self._number_at(place)
        assert number is not None
        return self._read(self.first_id + number, place)

    def _find_place(self, kind: Kind, name_off: int, start: int) -> int | None:
        # The bytes of a name's offset also occur where they mean something else, so that
        # a find counts only where a record begins.
        wanted = _WORD.pack(name_off)
        end = len(self._types) - abi.TYPE_BYTES + len(wanted)
        place = self._types.find(wanted, start, end)
        while place >= 0:
            is_kind = place % 4 == 0 and self._types[place + _KIND_BYTE] & 0x1F == kind
            if is_kind and self._number_at(place) is not None:
                return place
            place = self._types.find(wanted, place + 1, end)
        return None

    def _number_at(self, place: int) -> int | None:
        run = bisect_right(self._run_places, place) - 1
        number, here = self._run_ids[run], self._run_places[run]
        while here < place:
            here = _next(self._types, here)
            number += 1
        return number if here == place else None

    def _read(self, type_id: int, place: int) -> BtfType:
        name_off, info, size_or_type = _record(self._types, place)
        kind, count = Kind(info >> 24 & 0x1F), info & 0xFFFF
        data = place + abi.TYPE_BYTES
        members: tuple[RawMember, ...] = ()
        target, length = size_or_type, 0
        if kind in (Kind.STRUCT, Kind.UNION):
            target = 0
            members = self._members(data, count, has_bitfields=bool(info >> 31))
        elif kind is Kind.ARRAY:
            target, _, length = _ARRAY.unpack_from(self._types, data)
        elif kind in (Kind.INT, Kind.ENUM, Kind.ENUM64, Kind.FLOAT, Kind.DATASEC):
            target = 0
        size = 0 if target or kind is Kind.ARRAY else size_or_type
        return BtfType(type_id, kind, self.name(name_off), size, target, length, members)

    def _members(self, data: int, count: int, has_bitfields: bool) -> tuple[RawMember, ...]:
        # struct btf_member: with kind_flag set, bits 24-31 of the offset are a bit field's
        # width (0: none), and bits 0-23 its place in bits.
        end = data + count * _MEMBER.size
        if end > len(self._types):
            raise AbiError("members reach past the end", "btf_type", data)
        return tuple(
            RawMember(
                self.name(name_off),
                type_id,
                offset & 0xFF_FFFF if has_bitfields else offset,
                offset >> 24 if has_bitfields else 0,
            )
            for name_off, type_id, offset in _MEMBER.iter_unpack(self._types[data:end])
        )


def _section(data: bytes, start: int, header: Struct, name: str) -> bytes:
    offset = start + header.get(data, name + "_off")
    end = offset + header.get(data, name + "_len")
    if end > len(data):
        raise AbiError(f"{name} section reaches past the end", "btf_header")
    return data[offset:end]


def _record(types: bytes, place: int) -> tuple[int, int, int]:
    if place + abi.TYPE_BYTES > len(types):
        raise AbiError("a record is cut short", "btf_type", place)
    name_off, info, size_or_type = _TYPE.unpack_from(types, place)
    if info >> 24 & 0x1F not in _STEPS:
        raise AbiError(f"unknown kind {info >> 24 & 0x1F}", "btf_type", place)
    return name_off, info, size_or_type


_STEPS: Final = {kind: (width, 0) for kind, width in abi.FIXED_DATA.items()} | {
    kind: (0, width) for kind, width in abi.ITEM_DATA.items()
}


def _next(types: bytes, place: int) -> int:
    # The place after the record at `place`.
    _, info, _ = _record(types, place)
    fixed, item = _STEPS[Kind(info >> 24 & 0x1F)]
    return place + abi.TYPE_BYTES + fixed + item * (info & 0xFFFF)


def _index(types: bytes) -> tuple[list[int], list[int]]:
    # Number and place of the first record of each run; the last pair is the end.
    numbers, places = [0], [0]
    matchers = _run_matchers()
    number = place = 0
    while place < len(types):
        for count, match in matchers:
            found = match(types, place)
            if found is not None:
                place, number = found.end(), number + count
                break
        else:
            place, number = _next(types, place), number + 1
        numbers.append(number)
        places.append(place)
    return numbers, places


@cache
def _run_matchers() -> list[tuple[int, Callable[[bytes, int], re.Match[bytes] | None]]]:
    # Expressions matching exactly so many records, longest first. The kind and the number
    # of items are constants in each branch, so that it knows the length to skip.
    branches = [_branch(kinds, None, width) for width, kinds in _by_width(abi.FIXED_DATA)]
    for width, kinds in _by_width(abi.ITEM_DATA):
        branches += [_branch(kinds, n, width * n) for n in range(_MOST_ITEMS + 1)]
    record = b".{4}(?:" + b"|".join(branches) + b")"
    return [
        (count, re.compile(b"(?:%s){%d}" % (record, count), re.DOTALL).match)
        for count in _RUN_LENGTHS
    ]


def _by_width(table: dict[Kind, int]) -> list[tuple[int, list[Kind]]]:
    widths = sorted(set(table.values()))
    return [(width, [kind for kind in table if table[kind] == width]) for width in widths]


def _branch(kinds: list[Kind], items: int | None, data_bytes: int) -> bytes:
    # The info word (vlen: two bytes, unused, kind) with kind_flag either way, then the rest.
    either = b"".join(re.escape(bytes((kind, kind | 0x80))) for kind in kinds)
    vlen = [b".", b"."] if items is None else [re.escape(bytes((items,))), rb"\x00"]
    info = [*vlen, b".", b"[" + either + b"]"]
    if sys.byteorder == "big":
        info.reverse()
    return b"".join(info) + b".{%d}" % (4 + data_bytes)
