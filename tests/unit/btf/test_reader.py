from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.abi.btf import FIXED_DATA, ITEM_DATA, Kind
from bpfilter.btf.query import KernelTypes
from bpfilter.btf.reader import Btf
from bpfilter.btf.writer import Writer, write_functions
from bpfilter.errors import AbiError, UnsupportedError
from tests.unit.btf.types import add_struct, sample


def test_types_are_found_by_kind_and_name() -> None:
    btf = Btf(sample())
    found = btf.find(Kind.STRUCT, "outer")
    assert found is not None
    assert (found.size, len(found.members)) == (88, 5)
    assert btf.type(found.id) == found
    function = btf.find(Kind.FUNC, "outer")
    assert function is not None
    assert function.id != found.id
    assert btf.find(Kind.UNION, "outer") is None
    assert btf.find(Kind.STRUCT, "oute") is None
    assert btf.find(Kind.STRUCT, "") is None


def test_void_has_no_record() -> None:
    assert Btf(sample()).type(0).kind is Kind.VOID


def _records() -> st.SearchStrategy[list[tuple[Kind, int]]]:
    kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.VOID])
    # around the longest record that a run is made of, and over one byte of vlen
    counts = st.one_of(st.integers(0, 30), st.sampled_from([255, 256, 700]))
    return st.lists(st.tuples(kinds, counts), max_size=120)


@given(_records(), st.booleans())
def test_every_record_keeps_its_id_whatever_precedes_it(
    records: list[tuple[Kind, int]], flag: bool
) -> None:
    writer = Writer()
    for index, (kind, count) in enumerate(records, 1):
        words = FIXED_DATA[kind] // 4 if kind in FIXED_DATA else ITEM_DATA[kind] // 4 * count
        vlen = count if kind in ITEM_DATA else 0
        assert writer.add(kind, f"t{index}", 0, [0] * words, vlen, flag) == index
    btf = Btf(writer.build())
    assert [(t.id, t.kind, t.name) for t in btf.types()] == [
        (index, kind, f"t{index}") for index, (kind, _) in enumerate(records, 1)
    ]
    for index, (kind, _) in enumerate(records, 1):
        assert btf.type(index).name == f"t{index}"
        found = btf.find(kind, f"t{index}")
        assert found is not None
        assert found.id == index
    with pytest.raises(AbiError, match="no type"):
        btf.type(len(records) + 1)


def test_a_name_that_also_occurs_as_data_is_no_type() -> None:
    writer = Writer()
    place = writer.name("wanted")
    # Member names, offsets and sizes that all look like the record searched for.
    looks = [place, Kind.STRUCT << 24, place] * 3
    writer.add(Kind.STRUCT, "decoy", place, looks, vlen=3)
    assert Btf(writer.build()).find(Kind.STRUCT, "wanted") is None
    expected = add_struct(writer, "wanted", 4, [])
    found = Btf(writer.build()).find(Kind.STRUCT, "wanted")
    assert found is not None
    assert found.id == expected


def test_module_types_continue_the_ids_and_names_of_vmlinux() -> None:
    base = Btf(sample())
    inner = base.find(Kind.STRUCT, "inner")
    assert inner is not None
    # A module's own BTF, made as if its ids and names began at the base's ends.
    writer = Writer()
    writer.next_id = base.end_id
    writer._names = {"inner": base._name_offsets("inner")[0]}
    writer._strings = bytearray()
    writer.add(Kind.TYPEDEF, "inner", inner.id)  # named by the base's string
    data = bytearray(writer.build())
    members = struct.pack("=3I", base._end_name, inner.id, 0)
    record = struct.pack("=3I", base._end_name, Kind.STRUCT << 24 | 1, 8) + members
    header, types = data[:24], bytes(data[24:]) + record
    struct.pack_into("=3I", header, 12, len(types), len(types), 5)
    module = Btf(bytes(header) + types + b"extra"[:4] + b"\0", base)
    found = module.find(Kind.STRUCT, "extr")
    assert found is not None
    assert found.id == base.end_id + 1
    assert module.type(found.members[0].type_id) == inner
    alias = module.find(Kind.TYPEDEF, "inner")
    assert alias is not None
    assert alias.target == inner.id
    assert module.find(Kind.STRUCT, "outer") == base.find(Kind.STRUCT, "outer")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not BTF"),
        (b"\0" * 24, "not BTF"),
        (sample()[:23], "not BTF"),
        (sample()[:40], "past the end"),
        (b"\x9f\xeb\x02" + sample()[3:], "version 2"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(AbiError, match=said):
        Btf(data)


def test_type_that_never_resolves() -> None:
    writer = Writer()
    writer.add(Kind.TYPEDEF, "loop", 2)
    writer.add(Kind.CONST, "", 1)
    add_struct(writer, "s", 4, [("member", 1, 0)])
    with pytest.raises(AbiError, match="never resolves"):
        KernelTypes.from_btf(writer.build()).offset("s", "member")


def test_struct_inside_itself() -> None:
    writer = Writer()
    add_struct(writer, "s", 4, [("", 1, 0)])
    with pytest.raises(AbiError, match="nest deeper"):
        KernelTypes.from_btf(writer.build()).offset("s", "member")


@given(st.data())
def test_damaged_bytes_raise_nothing_but_our_errors(data: st.DataObject) -> None:
    damaged = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        types = KernelTypes.from_btf(bytes(damaged))
        types.offset("outer", "items[1][1].b")
        types.size("inner_t")
        list(Btf(bytes(damaged)).types())
    except (AbiError, UnsupportedError):
        pass


def test_functions_of_a_program() -> None:
    data, ids = write_functions(["main", "callback"])
    btf = Btf(data)
    assert [btf.type(number).name for number in ids] == ["main", "callback"]
    prototype = btf.type(btf.type(ids[0]).target)
    assert prototype.kind is Kind.FUNC_PROTO
    assert btf.type(prototype.target).name == "int"


def test_functions_are_found_in_any_order() -> None:
    writer = Writer()
    for number in range(20_000):
        writer.add(Kind.FUNC, f"f{number}")
    btf = Btf(writer.build())
    for number in (19_999, 0, 12_000, 19_998, 1):
        found = btf.find(Kind.FUNC, f"f{number}")
        assert found is not None
        assert found.id == number + 1
    assert btf.find(Kind.FUNC, "f20000") is None
