from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.asm.memory import Memory
from bpfilter.errors import InterpError


@given(st.sampled_from([1, 2, 4, 8]), st.integers(0, 8), st.integers(0, (1 << 64) - 1))
def test_load_gives_what_store_put(nbytes: int, offset: int, value: int) -> None:
    memory = Memory()
    region = memory.add("buffer", 16)
    memory.storer(nbytes)(region.base + offset, value)
    expected = value & (1 << nbytes * 8) - 1
    assert memory.loader(nbytes)(region.base + offset) == expected
    assert region.data[offset : offset + nbytes] == expected.to_bytes(nbytes, "little")
    assert sum(region.data) == sum(expected.to_bytes(nbytes, "little"))


@pytest.mark.parametrize(
    ("offset", "where"), [(13, "buffer\\+13"), (16, "buffer\\+16"), (-1, "where nothing is")]
)
def test_strays_are_found_out(offset: int, where: str) -> None:
    memory = Memory()
    region = memory.add("buffer", 16)
    with pytest.raises(InterpError, match=f"read of 4 bytes at .*{where}|{where}"):
        memory.loader(4)(region.base + offset)
    with pytest.raises(InterpError, match=where):
        memory.storer(4)(region.base + offset, 0)


def test_neighbours_do_not_touch() -> None:
    memory = Memory()
    first, second = memory.add("first", 8), memory.add("second", 8)
    with pytest.raises(InterpError, match="first"):
        memory.loader(1)(first.base + 8)
    with pytest.raises(InterpError, match="first-1"):
        memory.loader(1)(second.base - 1)


def test_addresses_wrap_at_64_bits() -> None:
    memory = Memory()
    memory.add("low", b"\x2a" * 8, base=0)
    assert memory.loader(1)((1 << 64) + 3) == 42


def test_read_only() -> None:
    memory = Memory()
    region = memory.add("rules", b"abcd", writable=False)
    with pytest.raises(InterpError, match="read-only"):
        memory.storer(1)(region.base, 0)
    assert memory.read(region.base, 4) == b"abcd"


def test_faultless_regions_read_as_zero_beyond_their_end() -> None:
    memory = Memory()
    null = memory.add("null", 0, base=0, faultless=True)
    struct = memory.add("sk_buff", b"\xff" * 8, faultless=True)
    for nbytes in (1, 2, 4, 8):
        assert memory.loader(nbytes)(null.base + 112) == 0
        assert memory.loader(nbytes)(struct.base + 6) == (
            0 if nbytes > 2 else (1 << nbytes * 8) - 1
        )
    with pytest.raises(InterpError):
        memory.storer(1)(null.base + 112, 1)


def test_data_may_change_size_in_place() -> None:
    memory = Memory()
    packet = memory.add("packet", b"old")
    load = memory.loader(1)
    packet.data[:] = b"longer"
    assert load(packet.base + 5) == ord("r")
    packet.data[:] = b"x"
    with pytest.raises(InterpError):
        load(packet.base + 1)


def test_a_bytearray_is_used_itself() -> None:
    data = bytearray(4)
    memory = Memory()
    memory.storer(4)(memory.add("shared", data).base, 1)
    assert data == b"\1\0\0\0"


def test_observers_see_every_write() -> None:
    memory = Memory()
    region = memory.add("hits", 16)
    seen: list[int] = []
    memory.watch(region, seen.append)
    memory.storer(8)(region.base + 8, 1)
    memory.write(region.base + 3, b"ab")
    assert seen == [8, 3]
    with pytest.raises(InterpError):
        memory.storer(8)(region.base + 9, 1)
    assert seen == [8, 3]


def test_removed_regions_are_gone() -> None:
    memory = Memory()
    region = memory.add("packet", 4)
    load = memory.loader(1)
    memory.remove(region)
    with pytest.raises(InterpError, match="nothing is"):
        load(region.base)
    assert memory.add("next", 4).base != region.base


@pytest.mark.parametrize("base", [1, 1 << 64, -(1 << 32)])
def test_bad_bases(base: int) -> None:
    with pytest.raises(InterpError, match="cannot be at"):
        Memory().add("odd", 4, base=base)


def test_bases_do_not_collide() -> None:
    memory = Memory()
    memory.add("null", 0, base=0)
    with pytest.raises(InterpError, match="cannot be at"):
        memory.add("null", 0, base=0)
