from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from bpfilter.abi.bpf import MapFlags, MapType, UpdateMode
from bpfilter.bpf.maps import Map, map_ids
from bpfilter.bpf.spec import MapSpec
from bpfilter.errors import KernelError
from bpfilter.kernel.linux import LinuxKernel

pytestmark = pytest.mark.usefixtures("no_leaks")


def _u64(value: int) -> bytes:
    return struct.pack("=Q", value)


def test_array(kernel: LinuxKernel) -> None:
    spec = MapSpec("numbers", MapType.ARRAY, 4, 4, 300, contents=_u64(1) + _u64(2))
    with Map.create(kernel, spec) as numbers:
        assert numbers.lookup(1) == struct.pack("=I", 2)
        assert numbers.lookup(300) is None
        numbers.update(299, 9)
        values = [value[0] for _, value in numbers.lookup_batch()]
        assert values == [1, 2, *[0] * 297, 9]
        assert len(list(numbers.keys())) == 300
        assert numbers.info().name == "numbers"


def test_hash_of_any_size_is_read_whole(kernel: LinuxKernel) -> None:
    with Map.create(kernel, MapSpec("names", MapType.HASH, 8, 8, 20_000)) as names:
        wanted = {_u64(key): _u64(key * 3) for key in range(20_000)}
        names.update_batch(wanted.items())
        assert dict(names.lookup_batch()) == wanted
        names.delete_batch(list(wanted)[:10_000])
        assert names.lookup(5) is None
        assert dict(names.items()) == dict(list(wanted.items())[10_000:])
        assert not names.delete(5)
        with pytest.raises(KernelError):
            names.update(19_999, 1, UpdateMode.NOEXIST)


def test_mmap(kernel: LinuxKernel) -> None:
    image = bytes(range(256)) * 64
    spec = MapSpec("m", MapType.ARRAY, 4, 1 << 14, 1, MapFlags.MMAPABLE, contents=image)
    with Map.create(kernel, spec) as made:
        with made.mmap() as memory:
            assert memory[:] == image
            memory[5] = 77
        value = made.lookup(0)
        assert value is not None
        assert value[5] == 77


def test_per_cpu(kernel: LinuxKernel) -> None:
    cpus = kernel.possible_cpus()
    with Map.create(kernel, MapSpec("c", MapType.PERCPU_ARRAY, 4, 12, 100)) as made:
        values = [bytes([cpu]) * 12 for cpu in range(1, cpus + 1)]
        made.update_per_cpu(42, values)
        assert made.lookup_per_cpu(42) == values
        try:
            batch = made.lookup_batch_per_cpu()
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            pytest.skip("per-CPU arrays in batches are of Linux 5.13")
        assert batch[42][1] == values
        image = made.read_image_per_cpu()
        assert len(image) == 100 * cpus * 16
        assert image[42 * cpus * 16 :][:12] == values[0]


def test_pins_and_ids(kernel: LinuxKernel, bpffs: Path) -> None:
    with Map.create(kernel, MapSpec("m", MapType.ARRAY, 4, 4, 1)) as made:
        made.update(0, 6)
        made.pin(bpffs / "m")
        number = made.id
        assert number in map_ids(kernel)
    with Map.open(kernel, bpffs / "m") as again, Map.by_id(kernel, number) as by_id:
        assert again.id == number
        assert by_id.lookup(0) == struct.pack("=I", 6)
    kernel.remove(bpffs / "m")
    kernel.wait_for_readers()  # maps are freed behind the scenes
    with pytest.raises(KernelError):
        Map.open(kernel, bpffs / "m")


def test_frozen_map_takes_no_writes(kernel: LinuxKernel) -> None:
    with Map.create(kernel, MapSpec("m", MapType.ARRAY, 4, 4, 1)) as made:
        made.freeze()
        with pytest.raises(KernelError):
            made.update(0, 1)
