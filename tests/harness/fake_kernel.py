"""A kernel in a dictionary: maps, programs, pins and links without privileges.

It keeps what `kernel.api.Kernel` promises closely enough for code above it to be tested:
objects live by descriptors, pins are names of files (in a directory of the test's), a
netfilter hook takes one link per priority. Calls are recorded, and any one can fail:

    kernel = FakeKernel(tmp_path)
    kernel.fail(at=3, code=errno.ENOMEM)   # the fourth call from now
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command, LinkType, MapType
from bpfilter.errors import BusyError, KernelError, UnsupportedError
from bpfilter.kernel.fd import Fd

_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)
_OF_OBJECTS = (MapType.PROG_ARRAY, MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


@dataclass(eq=False)
class FakeObject:
    """`file` is a descriptor the fake keeps; those handed out are duplicates of it."""

    id: int
    name: str
    file: int


@dataclass(eq=False)
class FakeMap(FakeObject):
    type: MapType
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    stride: int  # of `file`, an array's memory
    values: dict[bytes, bytes] = field(default_factory=dict)
    objects: dict[bytes, FakeObject] = field(default_factory=dict)


@dataclass(eq=False)
class FakeProgram(FakeObject):
    type: int
    code: bytes


@dataclass(eq=False)
class FakeLink(FakeObject):
    program: FakeProgram
    netns: str | None
    family: int
    hook: int
    priority: int
    is_detached: bool = False


class FakeKernel:
    """A Kernel for unit tests; `root` is where its bpffs lies. `close` it at the end."""

    def __init__(self, root: Path, *, cpus: int = 2, btf: bytes = b"") -> None:
        self.root = root
        self.cpus = cpus
        self.btf = btf
        self.calls: list[str] = []
        self.netns: str | None = None
        self.rejected: dict[str, tuple[int, str]] = {}  # program name: errno, verifier log
        self.retval = 0  # of every test run
        self._fail_at: dict[int, int] = {}
        self._ids = itertools.count(1)
        self._objects: list[FakeObject] = []
        self._pins: dict[int, FakeObject] = {}  # inode of the file that stands for a pin
        self._locks: set[Path] = set()
        self._namespaces: dict[str | None, int] = {}

    def close(self) -> None:
        for made in self._objects:
            os.close(made.file)
        self._objects.clear()

    # For tests

    def fail(self, at: int, code: int = errno.ENOMEM) -> None:
        """Let the call `at` calls from now (0: the next) fail with an errno."""
        self._fail_at[len(self.calls) + at] = code

    def reject(self, program: str, log: str, code: int = errno.EACCES) -> None:
        """Let the verifier refuse a program of that name."""
        self.rejected[program] = (code, log)

    def attached(self) -> list[FakeLink]:
        """Give the links that are in force: not detached, and pinned or held open."""
        return [
            link
            for link in self._objects
            if isinstance(link, FakeLink) and not link.is_detached and self._is_alive(link)
        ]

    def alive(self) -> list[FakeObject]:
        """Give what has not gone away: pinned or held open, or used by what is."""
        found = [made for made in self._objects if self._is_alive(made)]
        for owner in found:
            used = (
                [owner.program]
                if isinstance(owner, FakeLink)
                else list(owner.objects.values())
                if isinstance(owner, FakeMap)
                else []
            )
            found += [made for made in used if made not in found]
        return found

    # Kernel

    def require_privileges(self, op: str) -> None:
        """A fake lets everybody."""

    def bpf(self, command: Command, attr: bytearray, op: str) -> int:
        self._call(command.name, op)
        handler = getattr(self, f"_{command.name.lower()}", None)
        if handler is None:
            raise KernelError(op, errno.EINVAL)
        result: int = handler(attr, op)
        return result

    def map_memory(self, fd: Fd, length: int) -> mmap.mmap:
        self._call("mmap")
        return mmap.mmap(fd.number, length, mmap.MAP_SHARED)

    def vmlinux_btf(self) -> bytes:
        if not self.btf:
            raise UnsupportedError("type information of itself")
        return self.btf

    def module_btf(self, module: str) -> bytes | None:
        return None

    def btf_identity(self, module: str) -> str:
        return "a fake's"

    def possible_cpus(self) -> int:
        return self.cpus

    def cpu_numbers(self) -> int:
        return self.cpus

    def clock_hz(self) -> int:
        return 250

    def wait_for_readers(self) -> None:
        self._call("wait_for_readers")

    def legacy_entries(self, family: int, table: str) -> int:
        return 0

    def nft_generation(self) -> int:
        return 1

    def delete_nft_table(self, family: int, name: str, generation: int) -> bool:
        return generation == 1

    def nft_rule_tables(self) -> set[tuple[int, str]]:
        return set()

    @contextmanager
    def in_netns(self, netns: str | os.PathLike[str] | None) -> Iterator[None]:
        home, self.netns = self.netns, self.netns if netns is None else os.fspath(netns)
        try:
            yield
        finally:
            self.netns = home

    def in_scratch_netns(self) -> AbstractContextManager[None]:
        return self.in_netns("scratch")

    def netns_inode(self) -> int:
        return self._namespaces.setdefault(self.netns, 4026531840 + len(self._namespaces))

    def owns_netns(self) -> bool:
        return True

    def unused_netns(self, inodes: Iterable[int]) -> set[int]:
        return set(inodes) - {self.netns_inode()}

    def netns_cookie(self) -> int:
        return self.netns_inode()

    def mount_bpffs(self, path: Path) -> Path:
        self._call("mount_bpffs", str(path))
        reached = self.root / path.relative_to("/")
        reached.mkdir(parents=True, exist_ok=True)
        return reached

    def reach_bpffs(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def unmount_bpffs(self, path: Path) -> None:
        self._call("unmount_bpffs", str(path))

    @contextmanager
    def lock(self, path: Path, timeout_s: float = 0, shared: bool = False) -> Iterator[None]:
        if path in self._locks:
            raise BusyError(f"{path} is held")
        self._locks.add(path)
        try:
            yield
        finally:
            self._locks.discard(path)

    def replace_file(self, path: Path, data: bytes) -> None:
        self._call("replace_file", str(path))
        path.touch(0o600)
        path.write_bytes(data)

    def make_directory(self, path: Path) -> None:
        self._call("make_directory", str(path))
        path.mkdir(parents=True, exist_ok=True)

    def list_directory(self, path: Path) -> list[str]:
        return sorted(os.listdir(path)) if path.is_dir() else []

    def rename(self, source: Path, target: Path) -> None:
        self._call("rename", str(target))
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        self._call("remove", str(path))
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)

    # bpf(2), a method per command

    def _map_create(self, attr: bytearray, op: str) -> int:
        get = abi.MAP_CREATE.get
        kind = MapType(get(attr, "map_type"))
        stride = (get(attr, "value_size") + 7) & ~7
        if kind is MapType.PERCPU_ARRAY:
            stride *= self.cpus
        made = FakeMap(
            next(self._ids),
            abi.MAP_CREATE.get_text(attr, "map_name"),
            self._file(),
            kind,
            get(attr, "key_size"),
            get(attr, "value_size"),
            get(attr, "max_entries"),
            get(attr, "map_flags"),
            stride,
        )
        if kind in _ARRAYS:
            os.ftruncate(made.file, -(-stride * made.entries // mmap.PAGESIZE) * mmap.PAGESIZE)
        return self._add(made)

    def _map_lookup_elem(self, attr: bytearray, op: str) -> int:
        target, key = self._element(attr)
        value = self._read(target, key)
        if value is None:
            raise KernelError(op, errno.ENOENT)
        ctypes.memmove(abi.MAP_ELEM.get(attr, "value"), value, len(value))
        return 0

    def _map_update_elem(self, attr: bytearray, op: str) -> int:
        target, key = self._element(attr)
        address = abi.MAP_ELEM.get(attr, "value")
        self._write(target, key, ctypes.string_at(address, self._width(target)), op)
        return 0

    def _map_delete_elem(self, attr: bytearray, op: str) -> int:
        target, key = self._element(attr)
        if target.values.pop(key, None) is None and target.objects.pop(key, None) is None:
            raise KernelError(op, errno.ENOENT)
        return 0

    def _map_get_next_key(self, attr: bytearray, op: str) -> int:
        target = self._map_at(abi.MAP_NEXT_KEY.get(attr, "map_fd"))
        keys = self._keys(target)
        address = abi.MAP_NEXT_KEY.get(attr, "key")
        position = 0
        if address:
            position = keys.index(ctypes.string_at(address, target.key_bytes)) + 1
        if position >= len(keys):
            raise KernelError(op, errno.ENOENT)
        ctypes.memmove(abi.MAP_NEXT_KEY.get(attr, "next_key"), keys[position], target.key_bytes)
        return 0

    def _map_update_batch(self, attr: bytearray, op: str) -> int:
        get = abi.MAP_BATCH.get
        target = self._map_at(get(attr, "map_fd"))
        width = self._width(target)
        for index in range(get(attr, "count")):
            key = ctypes.string_at(get(attr, "keys") + index * target.key_bytes, target.key_bytes)
            value = ctypes.string_at(get(attr, "values") + index * width, width)
            self._write(target, key, value, op)
        return 0

    def _map_lookup_batch(self, attr: bytearray, op: str) -> int:
        # The position is a count of keys already given.
        get = abi.MAP_BATCH.get
        target = self._map_at(get(attr, "map_fd"))
        position = get(attr, "in_batch")
        start = int.from_bytes(ctypes.string_at(position, 4), "little") if position else 0
        keys = self._keys(target)
        part = keys[start : start + get(attr, "count")]
        width = self._width(target)
        for index, key in enumerate(part):
            value = self._read(target, key) or bytes(width)
            ctypes.memmove(get(attr, "keys") + index * target.key_bytes, key, target.key_bytes)
            ctypes.memmove(get(attr, "values") + index * width, value, width)
        end = start + len(part)
        ctypes.memmove(get(attr, "out_batch"), end.to_bytes(4, "little"), 4)
        offset = abi.MAP_BATCH.fields["count"].offset
        attr[offset : offset + 4] = len(part).to_bytes(4, "little")
        if end >= len(keys):
            raise KernelError(op, errno.ENOENT)
        return 0

    def _map_freeze(self, attr: bytearray, op: str) -> int:
        return 0

    def _btf_load(self, attr: bytearray, op: str) -> int:
        return self._add(FakeObject(next(self._ids), "btf", self._file()))

    def _prog_load(self, attr: bytearray, op: str) -> int:
        get = abi.PROG_LOAD.get
        name = abi.PROG_LOAD.get_text(attr, "prog_name")
        if name in self.rejected:
            code, log = self.rejected[name]
            if get(attr, "log_size"):
                ctypes.memmove(get(attr, "log_buf"), log.encode() + b"\0", len(log) + 1)
            raise KernelError(op, code)
        insns = ctypes.string_at(get(attr, "insns"), get(attr, "insn_cnt") * 8)
        kind = get(attr, "prog_type")
        return self._add(FakeProgram(next(self._ids), name, self._file(), kind, insns))

    def _prog_test_run(self, attr: bytearray, op: str) -> int:
        offset = abi.TEST_RUN.fields["retval"].offset
        attr[offset : offset + 4] = self.retval.to_bytes(4, "little")
        return 0

    def _obj_pin(self, attr: bytearray, op: str) -> int:
        path = self._path(attr)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise KernelError(op, error.errno or errno.EIO) from error
        self._pins[path.stat().st_ino] = self._at(abi.OBJ.get(attr, "bpf_fd"))
        return 0

    def _obj_get(self, attr: bytearray, op: str) -> int:
        try:
            inode = self._path(attr).stat().st_ino
        except OSError as error:
            raise KernelError(op, error.errno or errno.EIO) from error
        return os.dup(self._pins[inode].file)

    def _obj_get_info_by_fd(self, attr: bytearray, op: str) -> int:
        found = self._at(abi.OBJ_INFO.get(attr, "bpf_fd"))
        if isinstance(found, FakeMap):
            info = abi.MAP_INFO.pack(
                type=found.type,
                id=found.id,
                key_size=found.key_bytes,
                value_size=found.value_bytes,
                max_entries=found.entries,
                map_flags=found.flags,
                name=found.name.encode(),
            )
        elif isinstance(found, FakeProgram):
            info = abi.PROG_INFO.pack(
                type=found.type,
                id=found.id,
                name=found.name.encode(),
                xlated_prog_len=len(found.code),
                jited_prog_len=len(found.code),
            )
        else:
            assert isinstance(found, FakeLink)
            info = abi.LINK_INFO.pack(
                **{
                    "type": LinkType.NETFILTER,
                    "id": found.id,
                    "prog_id": found.program.id,
                    "netfilter.pf": found.family,
                    "netfilter.hooknum": found.hook,
                    "netfilter.priority": found.priority,
                }
            )
        ctypes.memmove(abi.OBJ_INFO.get(attr, "info"), bytes(info), len(info))
        return 0

    def _link_create(self, attr: bytearray, op: str) -> int:
        get = abi.LINK_CREATE.get
        program = self._at(get(attr, "prog_fd"))
        assert isinstance(program, FakeProgram)
        family = get(attr, "netfilter.pf")
        hook = get(attr, "netfilter.hooknum")
        priority = get(attr, "netfilter.priority")
        wanted = (self.netns, family, hook, priority)
        for link in self.attached():
            if (link.netns, link.family, link.hook, link.priority) == wanted:
                raise KernelError(op, errno.EBUSY)
        made = FakeLink(next(self._ids), "link", self._file(), program, *wanted)
        return self._add(made)

    def _link_update(self, attr: bytearray, op: str) -> int:
        raise KernelError(op, errno.EOPNOTSUPP)

    def _link_detach(self, attr: bytearray, op: str) -> int:
        link = self._at(abi.LINK_DETACH.get(attr, "link_fd"))
        assert isinstance(link, FakeLink)
        link.is_detached = True
        return 0

    # Below: objects and their values

    def _call(self, name: str, op: str = "") -> None:
        number = len(self.calls)
        self.calls.append(f"{name} {op}".rstrip())
        code = self._fail_at.pop(number, None)
        if code is not None:
            raise KernelError(op or name, code)

    def _file(self) -> int:
        return os.memfd_create("fake")

    def _add(self, made: FakeObject) -> int:
        self._objects.append(made)
        return os.dup(made.file)

    def _at(self, number: int) -> FakeObject:
        return next(made for made in self._objects if _is_same_file(made.file, number))

    def _map_at(self, number: int) -> FakeMap:
        found = self._at(number)
        assert isinstance(found, FakeMap)
        return found

    def _is_alive(self, made: FakeObject) -> bool:
        numbers = (int(name) for name in os.listdir("/proc/self/fd"))
        if any(n != made.file and _is_same_file(made.file, n) for n in numbers):
            return True
        pins = (path.stat().st_ino for path in self.root.rglob("*") if path.is_file())
        return any(self._pins.get(pin) is made for pin in pins)

    def _path(self, attr: bytearray) -> Path:
        return Path(os.fsdecode(ctypes.string_at(abi.OBJ.get(attr, "pathname"))))

    def _element(self, attr: bytearray) -> tuple[FakeMap, bytes]:
        target = self._map_at(abi.MAP_ELEM.get(attr, "map_fd"))
        return target, ctypes.string_at(abi.MAP_ELEM.get(attr, "key"), target.key_bytes)

    def _width(self, target: FakeMap) -> int:
        return target.stride if target.type.is_per_cpu else target.value_bytes

    def _keys(self, target: FakeMap) -> list[bytes]:
        if target.type in _ARRAYS:
            return [index.to_bytes(4, "little") for index in range(target.entries)]
        return [*target.values, *target.objects]

    def _read(self, target: FakeMap, key: bytes) -> bytes | None:
        if target.type in _OF_OBJECTS:
            found = target.objects.get(key)
            return found.id.to_bytes(4, "little") if found else None
        if target.type in _ARRAYS:
            index = int.from_bytes(key, "little")
            if index >= target.entries:
                return None
            return os.pread(target.file, self._width(target), index * target.stride)
        return target.values.get(key)

    def _write(self, target: FakeMap, key: bytes, value: bytes, op: str) -> None:
        if target.type in _OF_OBJECTS:
            target.objects[key] = self._at(int.from_bytes(value, "little"))
        elif target.type in _ARRAYS:
            index = int.from_bytes(key, "little")
            if index >= target.entries:
                raise KernelError(op, errno.E2BIG)
            os.pwrite(target.file, value, index * target.stride)
        elif key not in target.values and len(target.values) >= target.entries:
            raise KernelError(op, errno.E2BIG)
        else:
            target.values[key] = value


def _is_same_file(left: int, right: int) -> bool:
    try:
        return os.path.sameopenfile(left, right)
    except OSError:  # closed meanwhile: the descriptor that the listing used
        return False
