"""The kernel's types are read once, and again when it or its module is another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfilter.abi.btf import Kind
from bpfilter.btf.model import Member
from bpfilter.errors import UnsupportedError
from bpfilter.firewall import kept
from bpfilter.firewall.types import known_types
from tests.harness.fake_kernel import FakeKernel
from tests.unit.btf.types import sample


class Counting(FakeKernel):
    """A kernel that counts how often its type information is read, and may become another."""

    reads = 0
    identity = "one boot"

    def vmlinux_btf(self) -> bytes:
        self.reads += 1
        return super().vmlinux_btf()

    def btf_identity(self, module: str) -> str:
        assert module == "nf_conntrack"
        return self.identity


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Counting]:
    fake = Counting(tmp_path / "root", btf=sample())
    yield fake
    fake.close()


def ask(kernel: Counting, directory: Path) -> None:
    with known_types(kernel, directory) as types:
        assert types.offset("outer", "z") == Member(9, 1, 3, 2)
        assert types.offset("outer", "items[2]") == Member(56, 16)
        assert types.size("outer") == 88
        assert not types.has("outer", "nothing")
        assert types.find_id(Kind.FUNC, "nothing") is None
        assert types.find_id(Kind.FUNC, "do_something") is not None


def test_asked_again(kernel: Counting, tmp_path: Path) -> None:
    ask(kernel, tmp_path)
    assert kernel.reads == 1
    before = kernel.calls[:]
    ask(kernel, tmp_path)
    assert kernel.reads == 1
    assert kernel.calls == before  # nothing is written either


def test_something_else_asked(kernel: Counting, tmp_path: Path) -> None:
    ask(kernel, tmp_path)
    with known_types(kernel, tmp_path) as types:
        assert types.size("inner") == 8
    assert kernel.reads == 2
    ask(kernel, tmp_path)
    with known_types(kernel, tmp_path) as types:
        assert types.size("inner") == 8
    assert kernel.reads == 2


def test_another_boot_or_module(kernel: Counting, tmp_path: Path) -> None:
    ask(kernel, tmp_path)
    kernel.identity = "another boot"
    ask(kernel, tmp_path)
    assert kernel.reads == 2
    ask(kernel, tmp_path)
    assert kernel.reads == 2


def test_a_module_came_meanwhile(kernel: Counting, tmp_path: Path) -> None:
    with known_types(kernel, tmp_path) as types:
        types.size("outer")
        kernel.identity = "one boot, and a module"
    assert not tmp_path.joinpath("types.json").exists()


@pytest.mark.parametrize("found", [None, [], {"of": "one boot"}, {"of": "one boot", "answers": 1}])
def test_not_what_it_should_be(kernel: Counting, tmp_path: Path, found: object) -> None:
    kept.write(kernel, tmp_path / "types.json", found)
    ask(kernel, tmp_path)
    assert kernel.reads == 1


def test_damaged(kernel: Counting, tmp_path: Path) -> None:
    ask(kernel, tmp_path)
    path = tmp_path / "types.json"
    path.write_text(path.read_text().replace("[88]", "[80]"))
    ask(kernel, tmp_path)
    assert kernel.reads == 2
    assert json.loads(path.read_text().partition("\n")[2])["answers"]["size outer"] == [88]


def test_two_at_once_lose_nothing_that_matters(kernel: Counting, tmp_path: Path) -> None:
    with known_types(kernel, tmp_path) as first, known_types(kernel, tmp_path) as second:
        assert first.size("outer") == 88
        assert second.size("inner") == 8
    ask(kernel, tmp_path)


def test_what_fails_is_not_kept(kernel: Counting, tmp_path: Path) -> None:
    with (
        pytest.raises(UnsupportedError, match="struct nothing"),
        known_types(kernel, tmp_path) as types,
    ):
        types.size("nothing")
    assert not tmp_path.joinpath("types.json").exists()


def test_no_type_information_is_told_when_asked(kernel: Counting, tmp_path: Path) -> None:
    kernel.btf = b""
    with known_types(kernel, tmp_path) as types, pytest.raises(UnsupportedError):
        types.size("outer")


def test_a_full_disk_is_no_error(kernel: Counting, tmp_path: Path) -> None:
    kernel.fail(1)
    with known_types(kernel, tmp_path) as types:
        assert types.size("outer") == 88
    assert not tmp_path.joinpath("types.json").exists()
