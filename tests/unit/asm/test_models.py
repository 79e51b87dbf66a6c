from __future__ import annotations

import errno

import pytest

from bpfilter.asm.memory import Memory
from bpfilter.asm.models import BPF_ANY, BPF_EXIST, BPF_NOEXIST, ArrayModel, HashModel
from bpfilter.errors import InterpError


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_array() -> None:
    memory = Memory()
    array = ArrayModel(memory, "a", value_bytes=12, entries=3, contents=bytes(range(20)))
    assert array.lookup(key(0)) == array.values.base
    assert array.lookup(key(1)) == array.values.base + 16  # values are 8-byte aligned
    assert array.lookup(key(3)) == 0
    assert array.get(key(0)) == bytes(range(12))
    assert array.get(key(1)) == bytes([16, 17, 18, 19]) + bytes(8)
    assert array.get(key(3)) is None
    assert array.update(key(2), b"x" * 12, BPF_ANY) == 0
    assert memory.read(array.lookup(key(2)), 12) == b"x" * 12
    assert array.update(key(2), b"y" * 12, BPF_EXIST) == 0
    assert array.update(key(2), b"z" * 12, BPF_NOEXIST) == -errno.EEXIST
    assert array.update(key(3), b"z" * 12, BPF_ANY) == -errno.E2BIG
    assert array.update(key(0), b"z" * 12, 9) == -errno.EINVAL
    assert array.delete(key(0)) == -errno.EINVAL
    assert array.get(key(2)) == b"y" * 12


def test_contents_must_fit() -> None:
    with pytest.raises(InterpError, match="no room for 9 bytes"):
        ArrayModel(Memory(), "a", value_bytes=8, contents=bytes(9))


def test_direct_values_are_for_arrays_of_one() -> None:
    memory = Memory()
    one = ArrayModel(memory, "one", value_bytes=12)
    assert one.value_address(11) == one.values.base + 11
    with pytest.raises(InterpError, match="no direct value at 12"):
        one.value_address(12)
    with pytest.raises(InterpError, match="two has no direct value"):
        ArrayModel(memory, "two", value_bytes=12, entries=2).value_address(0)


def test_hash() -> None:
    table = HashModel(Memory(), "h", key_bytes=4, value_bytes=2, entries=2)
    assert table.lookup(key(7)) == 0
    assert table.update(key(7), b"ab", BPF_EXIST) == -errno.ENOENT
    assert table.update(key(7), b"ab", BPF_NOEXIST) == 0
    assert table.update(key(7), b"cd", BPF_NOEXIST) == -errno.EEXIST
    assert table.update(key(7), b"cd", BPF_ANY) == 0
    assert table.update(key(8), b"ef", BPF_ANY) == 0
    assert table.update(key(9), b"gh", BPF_ANY) == -errno.E2BIG
    assert table.lookup(key(7)) != table.lookup(key(8))
    assert dict(table.items()) == {key(7): b"cd", key(8): b"ef"}
    assert table.delete(key(7)) == 0
    assert table.delete(key(7)) == -errno.ENOENT
    assert table.get(key(7)) is None
    assert table.update(key(9), b"gh", 9) == -errno.EINVAL
    assert table.update(key(9), b"gh", BPF_ANY) == 0
    assert dict(table.items()) == {key(8): b"ef", key(9): b"gh"}


def test_the_handle_is_no_memory() -> None:
    memory = Memory()
    table = HashModel(memory, "h", key_bytes=4, value_bytes=2, entries=2)
    with pytest.raises(InterpError, match="map h"):
        memory.loader(1)(table.handle)
