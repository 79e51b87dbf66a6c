from __future__ import annotations

import pytest

from bpfilter.abi import bpf as abi
from bpfilter.abi.layout import Struct, raw, s32, u8, u16, u32, u64
from bpfilter.errors import AbiError

SAMPLE = Struct("sample", 24, u8("a", 0), u16("b", 2), s32("c", 4), u64("d", 8), raw("e", 16, 4))


def test_fields_are_read_as_they_were_packed() -> None:
    data = SAMPLE.pack(a=1, b=2, c=-3, d=4, e=b"xy")
    assert len(data) == 24
    assert [SAMPLE.get(data, name) for name in "abcd"] == [1, 2, -3, 4]
    assert SAMPLE.get_bytes(data, "e") == b"xy\0\0"
    assert SAMPLE.get_text(data, "e") == "xy"


def test_what_is_not_given_is_zero() -> None:
    assert SAMPLE.pack() == bytes(24)


def test_data_of_an_older_kernel_is_shorter() -> None:
    data = SAMPLE.pack(c=5, d=6)[:8]
    assert SAMPLE.get(data, "c") == 5
    assert SAMPLE.get(data, "d") == 0


@pytest.mark.parametrize("values", [{"a": 256}, {"b": -1}, {"c": 1 << 31}, {"e": b"12345"}])
def test_values_that_do_not_fit(values: dict[str, int | bytes]) -> None:
    with pytest.raises(AbiError, match="sample"):
        SAMPLE.pack(**values)


def test_field_outside_its_struct_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Struct("short", 4, u32("a", 2))


def test_fields_of_attr_do_not_overlap() -> None:
    for layout in vars(abi).values():
        if isinstance(layout, Struct):
            end = 0
            for field in sorted(layout.fields.values(), key=lambda field: field.offset):
                assert field.offset >= end, (layout.name, field.name)
                end = field.offset + field.width
