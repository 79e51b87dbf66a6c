from __future__ import annotations

import json

import pytest

from bpfilter.abi.btf import Kind
from bpfilter.btf.model import Member
from bpfilter.btf.query import Answers, KernelTypes
from bpfilter.errors import AbiError, UnsupportedError
from tests.unit.btf.types import sample

PLACES = {
    ("outer", "first"): Member(0, 8),
    ("outer", "x"): Member(8, 4),  # through an anonymous union
    ("outer", "pad"): Member(8, 1),  # and an anonymous struct in it
    ("outer", "y"): Member(9, 1, 0, 3),
    ("outer", "z"): Member(9, 1, 3, 2),
    ("outer", "pointer"): Member(16, 8),
    ("outer", "items"): Member(24, 48),
    ("outer", "items[2]"): Member(56, 16),
    ("outer", "items[1][1].b"): Member(52, 4),  # 24 + 3 * 8 + 4
    ("outer", "one.a"): Member(72, 1),
    ("inner_t", "b"): Member(4, 4),  # by the name of a typedef
}


@pytest.fixture
def types() -> KernelTypes:
    return KernelTypes.from_btf(sample())


@pytest.mark.parametrize(("struct", "path"), PLACES)
def test_offset(types: KernelTypes, struct: str, path: str) -> None:
    assert types.offset(struct, path) == PLACES[struct, path]
    assert types.has(struct, path)


@pytest.mark.parametrize(
    ("struct", "path"),
    [
        ("outer", "nothing"),
        ("outer", "one.nothing"),
        ("outer", "items[3]"),
        ("outer", "first[0]"),
        ("outer", "pointer.a"),  # pointers are not followed
        ("nothing", "first"),
    ],
)
def test_what_is_not_there(types: KernelTypes, struct: str, path: str) -> None:
    with pytest.raises(UnsupportedError, match=struct):
        types.offset(struct, path)
    assert not types.has(struct, path)


def test_path_that_is_none(types: KernelTypes) -> None:
    with pytest.raises(AbiError, match="not a path"):
        types.offset("outer", "items[x]")


def test_bit_field_is_what_a_load_a_shift_and_a_mask_give(types: KernelTypes) -> None:
    z = types.offset("outer", "z")
    assert z.mask == 3
    assert z.shift == 3  # 8 - 3 - 2 on a big-endian machine
    assert (0b0001_1000 >> z.shift) & z.mask == 3


def test_size_and_ids(types: KernelTypes) -> None:
    assert types.size("outer") == 88
    assert types.size("inner_t") == 8
    with pytest.raises(UnsupportedError, match="struct nothing"):
        types.size("nothing")
    assert types.type_id(Kind.FUNC, "do_something") == types.find_id(Kind.FUNC, "do_something")
    assert types.find_id(Kind.FUNC, "nothing") is None
    with pytest.raises(UnsupportedError, match="func nothing"):
        types.type_id(Kind.FUNC, "nothing")


def test_table_gives_the_same_answers(types: KernelTypes) -> None:
    table = json.loads(json.dumps(types.subset([*PLACES, ("inner", "")])))
    again = KernelTypes.from_table(table)
    for (struct, path), place in PLACES.items():
        assert again.offset(struct, path) == place
    assert again.size("outer") == 88
    assert again.size("inner") == 8
    assert again.find_id(Kind.STRUCT, "outer") is None
    with pytest.raises(UnsupportedError, match="first in its struct inner"):
        again.offset("inner", "first")


def test_modules_are_read_only_for_what_vmlinux_lacks() -> None:
    asked: list[str] = []

    def module(name: str) -> bytes | None:
        asked.append(name)
        return None

    types = KernelTypes.from_btf(sample(), module, ("one", "two"))
    types.offset("outer", "first")
    assert asked == []
    assert not types.has("nf_conn", "mark")
    assert not types.has("nf_conn", "status")
    assert asked == ["one", "two"]


class Running:
    """A kernel whose type information is to be read once at most."""

    def __init__(self) -> None:
        self.unread = [sample()]

    def vmlinux_btf(self) -> bytes:
        return self.unread.pop()

    def module_btf(self, module: str) -> bytes | None:
        return None


def test_what_was_answered_is_remembered(types: KernelTypes) -> None:
    answers: Answers = {}

    def ask(asked: KernelTypes) -> list[object]:
        found: list[object] = [asked.offset(*place) for place in PLACES]
        found += [asked.size("outer"), asked.find_id(Kind.FUNC, "do_something")]
        found += [asked.has("outer", "nothing"), asked.has("nothing", "first")]
        return [*found, asked.find_id(Kind.FUNC, "nothing")]

    expected = ask(types)
    kernel = Running()
    assert ask(KernelTypes.remembering(answers, kernel)) == expected
    assert not kernel.unread
    answers = json.loads(json.dumps(answers))
    assert ask(KernelTypes.remembering(answers, kernel)) == expected
    with pytest.raises(IndexError):  # this one is read
        KernelTypes.remembering(answers, kernel).size("inner")


def test_kinds_of_a_name_are_remembered_apart(types: KernelTypes) -> None:
    remembering = KernelTypes.remembering({}, Running())
    for kind in (Kind.FUNC, Kind.STRUCT):
        for _ in range(2):
            assert remembering.find_id(kind, "outer") == types.find_id(kind, "outer") is not None
