"""Maps: made, opened, read and written."""

from __future__ import annotations

import errno
import mmap
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command, MapFlags, UpdateMode
from bpfilter.bpf import pins
from bpfilter.bpf.objects import KernelObject, iterate_ids, name_bytes, open_id, read_info
from bpfilter.bpf.spec import MapSpec
from bpfilter.dataclass import dataclass
from bpfilter.errors import KernelError
from bpfilter.kernel.api import Kernel
from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory

Key = bytes | int  # an int is packed in the machine's byte order
Value = bytes | int

_BATCH_BYTES = 1 << 20
_BUCKET = 64  # no fewer elements in one call: a hash gives whole buckets


@dataclass(frozen=True, slots=True)
class MapInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a map."""

    id: int
    type: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    name: str


class Map(KernelObject):
    """A map. Per-CPU maps have their own methods, `…_per_cpu`; a value is a list there."""

    def __init__(self, kernel: Kernel, fd: Fd, info: MapInfo) -> None:
        super().__init__(kernel, fd, info.name)
        self.id = info.id
        self.type = info.type
        self.key_bytes = info.key_bytes
        self.value_bytes = info.value_bytes
        self.entries = info.entries
        self.flags = info.flags

    @classmethod
    def create(cls, kernel: Kernel, spec: MapSpec) -> Self:
        """Make a map and fill in its contents. Raises: KernelError."""
        inner = cls.create(kernel, spec.inner) if spec.inner else None
        attr = abi.MAP_CREATE.pack(
            map_type=spec.type,
            key_size=spec.key_bytes,
            value_size=spec.value_bytes,
            max_entries=spec.entries,
            map_flags=spec.flags,
            inner_map_fd=inner.fd.number if inner else 0,
            map_name=name_bytes(spec.name),
        )
        try:
            fd = Fd(kernel.bpf(Command.MAP_CREATE, attr, f"create map {spec.name}"))
        finally:
            if inner:
                inner.close()
        try:
            made = cls._of(kernel, fd)
            made.name = spec.name
            if spec.contents:
                made.write_image(spec.contents)
        except BaseException:
            fd.close()
            raise
        return made

    @classmethod
    def open(cls, kernel: Kernel, path: Path) -> Self:
        """Open a pinned map. Raises: KernelError, ENOENT if there is none."""
        return cls._owning(kernel, pins.open_pin(kernel, path))

    @classmethod
    def by_id(cls, kernel: Kernel, number: int) -> Self:
        fd = open_id(kernel, Command.MAP_GET_FD_BY_ID, number, f"open map {number}")
        return cls._owning(kernel, fd)

    @classmethod
    def _owning(cls, kernel: Kernel, fd: Fd) -> Self:
        try:
            return cls._of(kernel, fd)
        except BaseException:
            fd.close()
            raise

    @classmethod
    def _of(cls, kernel: Kernel, fd: Fd) -> Self:
        return cls(kernel, fd, _info(kernel, fd))

    def info(self) -> MapInfo:
        return _info(self.kernel, self.fd)

    @property
    def stride(self) -> int:
        """Bytes from one value to the next in memory and in per-CPU values."""
        return (self.value_bytes + 7) & ~7

    @property
    def is_mmapable(self) -> bool:
        return bool(self.flags & MapFlags.MMAPABLE)

    # One element

    def lookup(self, key: Key) -> bytes | None:
        """Give the value of a key, None if it is not there."""
        return self._lookup(key, self.value_bytes)

    def lookup_per_cpu(self, key: Key) -> list[bytes] | None:
        """Give one value for each possible CPU, None if the key is not there."""
        data = self._lookup(key, self.stride * self.kernel.possible_cpus())
        return None if data is None else self._split(data)

    def update(self, key: Key, value: Value, mode: UpdateMode = UpdateMode.ANY) -> None:
        """Set a value. In a map of programs or maps it is a descriptor's number.

        In a map of maps the kernel waits until no program runs any more that could have
        seen the old value (see bpf/grace.py).
        """
        self._update(key, self._pack(value, self.value_bytes), mode)

    def update_per_cpu(
        self, key: Key, values: Sequence[bytes], mode: UpdateMode = UpdateMode.ANY
    ) -> None:
        """Set one value for each possible CPU."""
        self._update(key, b"".join(value.ljust(self.stride, b"\0") for value in values), mode)

    def delete(self, key: Key) -> bool:
        """Remove a key; False if it was not there."""
        keys = Memory(self._pack(key, self.key_bytes))
        attr = abi.MAP_ELEM.pack(map_fd=self.fd.number, key=keys.address)
        return self._unless_missing(Command.MAP_DELETE_ELEM, attr, "delete from")

    def keys(self) -> Iterator[bytes]:
        """Walk the keys. A hash that changes meanwhile may start over or skip some."""
        current: Memory | None = None
        while True:
            following = Memory(self.key_bytes)
            attr = abi.MAP_NEXT_KEY.pack(
                map_fd=self.fd.number,
                key=current.address if current else 0,
                next_key=following.address,
            )
            if not self._unless_missing(Command.MAP_GET_NEXT_KEY, attr, "walk"):
                return
            yield bytes(following)
            current = following

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Walk keys and values."""
        for key in self.keys():
            value = self.lookup(key)
            if value is not None:
                yield key, value

    # Many elements in one call; Linux 5.6, commit cb4d03ab499d ("bpf: Add generic support for
    # lookup batch op"); per-CPU arrays since 5.13.

    def lookup_batch(self) -> list[tuple[bytes, bytes]]:
        """Give all keys and values; of a per-CPU map, use `lookup_batch_per_cpu`."""
        return list(self._pairs(self.value_bytes))

    def lookup_batch_per_cpu(self) -> list[tuple[bytes, list[bytes]]]:
        """Give all keys with one value for each possible CPU."""
        width = self.stride * self.kernel.possible_cpus()
        return [(key, self._split(data)) for key, data in self._pairs(width)]

    def read_image_per_cpu(self) -> bytes:
        """Give all values of a per-CPU array: entry by entry, CPU by CPU, at `stride`."""
        width = self.stride * self.kernel.possible_cpus()
        return b"".join(bytes(v.data[: n * width]) for _, v, n in self._batches(width))

    def update_batch(self, items: Iterable[tuple[Key, Value]]) -> None:
        """Set many values; one that fails leaves those before it set."""
        pairs = [
            (self._pack(key, self.key_bytes), self._pack(value, self.value_bytes))
            for key, value in items
        ]
        step = max(1, _BATCH_BYTES // (self.key_bytes + self.value_bytes))
        for start in range(0, len(pairs), step):
            part = pairs[start : start + step]
            keys = Memory(b"".join(key for key, _ in part))
            values = Memory(b"".join(value for _, value in part))
            self._batch(Command.MAP_UPDATE_BATCH, len(part), keys, values)

    def delete_batch(self, keys: Iterable[Key]) -> None:
        """Remove many keys. Raises: KernelError, ENOENT at the first that is not there."""
        packed = [self._pack(key, self.key_bytes) for key in keys]
        if packed:
            self._batch(Command.MAP_DELETE_BATCH, len(packed), Memory(b"".join(packed)), None)

    # The whole memory of an array

    def mmap(self) -> mmap.mmap:
        """Map a BPF_F_MMAPABLE array's memory, shared: a store is seen by programs at once.

        Its length is a whole number of pages. The caller closes it.
        """
        assert self.is_mmapable, f"{self.name} is not mmapable"
        length = self.stride * self.entries
        return self.kernel.map_memory(self.fd, -(-length // mmap.PAGESIZE) * mmap.PAGESIZE)

    def write_image(self, image: bytes) -> None:
        """Write an array's memory from its start (see MapSpec.contents)."""
        if self.is_mmapable:
            with self.mmap() as memory:
                memory[: len(image)] = image
            return
        starts = range(0, len(image), self.stride)
        values = (image[start : start + self.value_bytes] for start in starts)
        self.update_batch(
            (index, value.ljust(self.value_bytes, b"\0")) for index, value in enumerate(values)
        )

    def freeze(self) -> None:
        """Forbid writes from user space from now on; Linux 5.2. Programs may still write."""
        attr = abi.MAP_ELEM.pack(map_fd=self.fd.number)
        self.kernel.bpf(Command.MAP_FREEZE, attr, f"freeze map {self.name}")

    # Below: calls

    def _lookup(self, key: Key, width: int) -> bytes | None:
        keys, values = Memory(self._pack(key, self.key_bytes)), Memory(width)
        attr = abi.MAP_ELEM.pack(map_fd=self.fd.number, key=keys.address, value=values.address)
        found = self._unless_missing(Command.MAP_LOOKUP_ELEM, attr, "look up in")
        return bytes(values) if found else None

    def _update(self, key: Key, value: bytes, mode: UpdateMode) -> None:
        keys, values = Memory(self._pack(key, self.key_bytes)), Memory(value)
        attr = abi.MAP_ELEM.pack(
            map_fd=self.fd.number, key=keys.address, value=values.address, flags=mode
        )
        self.kernel.bpf(Command.MAP_UPDATE_ELEM, attr, f"update map {self.name}")

    def _unless_missing(self, command: Command, attr: bytearray, verb: str) -> bool:
        try:
            self.kernel.bpf(command, attr, f"{verb} map {self.name}")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _batches(self, width: int) -> Iterator[tuple[Memory, Memory, int]]:
        # Keys, values and how many of them, call by call. The position between calls is
        # opaque: a key for arrays, a bucket (u32) for hashes.
        count = max(_BUCKET, min(self.entries, _BATCH_BYTES // (self.key_bytes + width)))
        position = Memory(max(self.key_bytes, 4))
        first, done = True, False
        while not done:
            keys, values = Memory(self.key_bytes * count), Memory(width * count)
            attr = abi.MAP_BATCH.pack(
                in_batch=0 if first else position.address,
                out_batch=position.address,
                keys=keys.address,
                values=values.address,
                count=count,
                map_fd=self.fd.number,
            )
            try:
                done = not self._unless_missing(Command.MAP_LOOKUP_BATCH, attr, "read")
            except KernelError as error:
                if error.errno != errno.ENOSPC:
                    raise
                count *= 2  # a bucket of a hash holds more than that
                continue
            yield keys, values, abi.MAP_BATCH.get(attr, "count")
            first = False

    def _batch(self, command: Command, count: int, keys: Memory, values: Memory | None) -> None:
        attr = abi.MAP_BATCH.pack(
            keys=keys.address,
            values=values.address if values else 0,
            count=count,
            map_fd=self.fd.number,
        )
        self.kernel.bpf(command, attr, f"update map {self.name}")

    def _pairs(self, width: int) -> Iterator[tuple[bytes, bytes]]:
        for keys, values, count in self._batches(width):
            for index in range(count):
                yield (
                    bytes(keys.data[index * self.key_bytes : (index + 1) * self.key_bytes]),
                    bytes(values.data[index * width : (index + 1) * width]),
                )

    def _split(self, data: bytes) -> list[bytes]:
        starts = range(0, len(data), self.stride)
        return [data[start : start + self.value_bytes] for start in starts]

    def _pack(self, value: bytes | int, width: int) -> bytes:
        if isinstance(value, int):
            return value.to_bytes(width, sys.byteorder, signed=value < 0)
        assert len(value) == width, f"{self.name}: {len(value)} bytes for {width}"
        return value


def map_ids(kernel: Kernel) -> Iterator[int]:
    """Walk the ids of all maps of this machine; needs CAP_SYS_ADMIN."""
    return iterate_ids(kernel, Command.MAP_GET_NEXT_ID, "list maps")


def _info(kernel: Kernel, fd: Fd) -> MapInfo:
    data = read_info(kernel, fd, abi.MAP_INFO, "describe a map")
    get = abi.MAP_INFO.get
    return MapInfo(
        id=get(data, "id"),
        type=get(data, "type"),
        key_bytes=get(data, "key_size"),
        value_bytes=get(data, "value_size"),
        entries=get(data, "max_entries"),
        flags=get(data, "map_flags"),
        name=abi.MAP_INFO.get_text(data, "name"),
    )
