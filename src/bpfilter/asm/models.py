"""Maps as the interpreter sees them: values in its memory, with the kernel's rules of access."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence

from bpfilter.asm.insn import Insn
from bpfilter.asm.memory import Memory, WriteObserver
from bpfilter.errors import InterpError

# Flags of an update (include/uapi/linux/bpf.h).
BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2


class MapModel:
    """What all maps share: a handle for helpers, and values in a region of their own.

    `handle` is the address a program holds for the map itself; nothing can be read
    there. Values lie `stride` bytes apart, a multiple of 8 as in the kernel.
    """

    def __init__(
        self, memory: Memory, name: str, key_bytes: int, value_bytes: int, entries: int
    ) -> None:
        self.memory = memory
        self.name = name
        self.key_bytes = key_bytes
        self.value_bytes = value_bytes
        self.entries = entries
        self.stride = -(-value_bytes // 8) * 8
        self.handle = memory.add(f"map {name}", 0, writable=False).base
        self.values = memory.add(name, self.stride * entries)

    def observe(self, observer: WriteObserver) -> None:
        """Call `observer` with the offset in the values after every write of a program."""
        self.memory.watch(self.values, observer)

    def value_address(self, offset: int) -> int:
        """Give the address of a byte of the only value, as `ld_imm64` loads it."""
        if self.entries != 1 or offset >= self.value_bytes:
            raise InterpError(f"map {self.name} has no direct value at {offset}")
        return self.values.base + offset

    def lookup(self, key: bytes) -> int:
        """Give the address of the value of a key, or 0."""
        slot = self.slot(key)
        return 0 if slot is None else self.values.base + slot * self.stride

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Set a value; 0 or -errno."""
        raise NotImplementedError

    def delete(self, key: bytes) -> int:
        """Remove a key; 0 or -errno."""
        raise NotImplementedError

    def slot(self, key: bytes) -> int | None:
        """Give where the value of a key is, counted in values."""
        raise NotImplementedError

    def get(self, key: bytes) -> bytes | None:
        """Give the value of a key, for tests and reports."""
        slot = self.slot(key)
        if slot is None:
            return None
        start = slot * self.stride
        return bytes(self.values.data[start : start + self.value_bytes])

    def put(self, slot: int, value: bytes) -> None:
        start = slot * self.stride
        self.values.data[start : start + self.value_bytes] = value


class ArrayModel(MapModel):
    """BPF_MAP_TYPE_ARRAY; also the per-CPU kind, for the one CPU there is.

    `contents` is written from the start of the first value on, as through `mmap`.
    """

    def __init__(
        self, memory: Memory, name: str, value_bytes: int, entries: int = 1, contents: bytes = b""
    ) -> None:
        super().__init__(memory, name, 4, value_bytes, entries)
        if len(contents) > len(self.values.data):
            raise InterpError(f"map {name} has no room for {len(contents)} bytes of contents")
        self.values.data[: len(contents)] = contents

    def slot(self, key: bytes) -> int | None:
        index = int.from_bytes(key, "little")
        return index if index < self.entries else None

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        slot = self.slot(key)
        if flags > BPF_EXIST:
            return -errno.EINVAL
        if slot is None:
            return -errno.E2BIG
        if flags == BPF_NOEXIST:
            return -errno.EEXIST
        self.put(slot, value)
        return 0

    def delete(self, key: bytes) -> int:  # noqa: ARG002 - an array has all its keys, always
        return -errno.EINVAL


class HashModel(MapModel):
    """BPF_MAP_TYPE_HASH."""

    def __init__(
        self, memory: Memory, name: str, key_bytes: int, value_bytes: int, entries: int
    ) -> None:
        super().__init__(memory, name, key_bytes, value_bytes, entries)
        self._slots: dict[bytes, int] = {}
        self._free = list(range(entries - 1, -1, -1))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Give all keys with their values."""
        for key in self._slots:
            value = self.get(key)
            assert value is not None
            yield key, value

    def slot(self, key: bytes) -> int | None:
        return self._slots.get(key)

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        if flags > BPF_EXIST:
            return -errno.EINVAL
        slot = self._slots.get(key)
        if slot is not None and flags == BPF_NOEXIST:
            return -errno.EEXIST
        if slot is None and flags == BPF_EXIST:
            return -errno.ENOENT
        if slot is None:
            if not self._free:
                return -errno.E2BIG
            slot = self._slots[key] = self._free.pop()
        self.put(slot, value)
        return 0

    def delete(self, key: bytes) -> int:
        slot = self._slots.pop(key, None)
        if slot is None:
            return -errno.ENOENT
        self._free.append(slot)
        return 0


class ProgramArrayModel:
    """BPF_MAP_TYPE_PROG_ARRAY: programs for tail calls by index; programs cannot look in it."""

    def __init__(self, memory: Memory, name: str, programs: Mapping[int, Sequence[Insn]]) -> None:
        self.name = name
        self.programs = dict(programs)
        self.handle = memory.add(f"map {name}", 0, writable=False).base
