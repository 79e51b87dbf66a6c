from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from bpfilter.abi.bpf import MapFlags, MapType
from bpfilter.bpf import pins
from bpfilter.bpf.maps import Map
from bpfilter.bpf.objects import name_bytes
from bpfilter.bpf.spec import MapSpec
from bpfilter.errors import KernelError
from tests.harness.fake_kernel import FakeKernel

ARRAY = MapSpec("numbers", MapType.ARRAY, 4, 4, 5)
HASH = MapSpec("names", MapType.HASH, 4, 8, 3)


def test_array_elements(kernel: FakeKernel) -> None:
    with Map.create(kernel, ARRAY) as numbers:
        numbers.update(2, 7)
        numbers.update(3, b"abcd")
        assert numbers.lookup(2) == struct.pack("=I", 7)
        assert numbers.lookup(3) == b"abcd"
        assert numbers.lookup(5) is None
        assert [key[0] for key in numbers.keys()] == [0, 1, 2, 3, 4]  # noqa: SIM118


def test_hash_elements(kernel: FakeKernel) -> None:
    with Map.create(kernel, HASH) as names:
        assert names.lookup(1) is None
        names.update(1, -1)
        assert list(names.items()) == [(struct.pack("=I", 1), b"\xff" * 8)]
        assert names.delete(1)
        assert not names.delete(1)
        names.update_batch((key, key) for key in range(3))
        assert len(names.lookup_batch()) == 3
        with pytest.raises(KernelError, match="update map names"):
            names.update(9, 9)


def test_contents_of_plain_and_of_mmapable_array(kernel: FakeKernel) -> None:
    image = struct.pack("=QQQ", 1, 2, 3)  # stride 8, though values have 4 bytes
    for flags in (0, MapFlags.MMAPABLE):
        spec = MapSpec("m", MapType.ARRAY, 4, 4, 4, flags, contents=image)
        with Map.create(kernel, spec) as made:
            values = [value[0] for _, value in made.lookup_batch()]
            assert values == [1, 2, 3, 0]


def test_contents_that_do_not_fit_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        MapSpec("m", MapType.ARRAY, 4, 4, 1, contents=bytes(9))
    with pytest.raises(AssertionError):
        MapSpec("m", MapType.HASH, 4, 4, 1, contents=bytes(4))


def test_mmap_is_the_same_memory(kernel: FakeKernel) -> None:
    spec = MapSpec("m", MapType.ARRAY, 4, 8, 600, MapFlags.MMAPABLE)
    with Map.create(kernel, spec) as made, made.mmap() as memory:
        assert len(memory) == 8192
        memory[8:16] = b"01234567"
        assert made.lookup(1) == b"01234567"


def test_per_cpu_values(kernel: FakeKernel) -> None:
    with Map.create(kernel, MapSpec("c", MapType.PERCPU_ARRAY, 4, 4, 3)) as made:
        made.update_per_cpu(1, [b"aaaa", b"bbbb"])
        assert made.lookup_per_cpu(1) == [b"aaaa", b"bbbb"]
        assert made.lookup_batch_per_cpu()[1][1] == [b"aaaa", b"bbbb"]
        assert made.read_image_per_cpu()[16:32] == b"aaaa\0\0\0\0bbbb\0\0\0\0"


def test_many_batches(kernel: FakeKernel) -> None:
    with Map.create(kernel, MapSpec("m", MapType.ARRAY, 4, 4096, 700)) as made:
        made.update_batch((index, bytes([index % 256]) * 4096) for index in range(700))
        assert [v[:1][0] for _, v in made.lookup_batch()] == [i % 256 for i in range(700)]
    assert sum(call.startswith("MAP_UPDATE_BATCH") for call in kernel.calls) > 1
    assert sum(call.startswith("MAP_LOOKUP_BATCH") for call in kernel.calls) > 1


def test_pinned_map_lives_on(kernel: FakeKernel, tmp_path: Path) -> None:
    path = tmp_path / "pin"
    with Map.create(kernel, ARRAY) as numbers:
        numbers.update(0, 5)
        numbers.pin(path)
        with pytest.raises(KernelError) as raised:
            numbers.pin(path)
        assert raised.value.errno == errno.EEXIST
    with Map.open(kernel, path) as again:
        assert again.lookup(0) == struct.pack("=I", 5)
        assert (again.name, again.entries, again.stride) == ("numbers", 5, 8)
    kernel.remove(path)
    assert not kernel.alive()
    with pytest.raises(KernelError) as raised:
        Map.open(kernel, path)
    assert raised.value.errno == errno.ENOENT


def test_pin_over_replaces_in_one_step(kernel: FakeKernel, tmp_path: Path) -> None:
    path = tmp_path / "pin"
    with Map.create(kernel, ARRAY) as old, Map.create(kernel, ARRAY) as new:
        new.update(0, 1)
        pins.pin_over(kernel, old.fd, path)
        kernel.fail(at=2)
        with pytest.raises(KernelError):
            pins.pin_over(kernel, new.fd, path)
        with Map.open(kernel, path) as found:
            assert found.lookup(0) == bytes(4)
        pins.pin_over(kernel, new.fd, path)  # the half-made pin of before is no obstacle
        with Map.open(kernel, path) as found:
            assert found.lookup(0) == struct.pack("=I", 1)
    pins.remove_tree(kernel, tmp_path)
    assert not kernel.alive()


@pytest.mark.parametrize("at", range(4))
def test_failing_create_leaves_nothing(kernel: FakeKernel, at: int) -> None:
    # create the inner map, describe it, create the outer one, describe that
    inner = MapSpec("inner", MapType.ARRAY, 4, 4, 1)
    kernel.fail(at)
    with pytest.raises(KernelError, match="Cannot allocate"):
        Map.create(kernel, MapSpec("outer", MapType.ARRAY_OF_MAPS, 4, 4, 1, inner=inner))
    assert not kernel.alive()


def test_names_are_as_the_kernel_takes_them() -> None:
    assert name_bytes("a-b c.d_é") == b"a_b_c.d__"
    assert name_bytes("x" * 40) == b"x" * 15
