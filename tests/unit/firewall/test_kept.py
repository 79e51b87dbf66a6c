"""Files of findings: read back as written, and ignored when anything is odd about them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfilter.firewall import kept
from tests.harness.fake_kernel import FakeKernel

FOUND = {"of": "a kernel", "answers": {"size sk_buff": [232], "size nothing": None}}


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[FakeKernel]:
    fake = FakeKernel(tmp_path / "root")
    yield fake
    fake.close()


@pytest.fixture
def path(kernel: FakeKernel, tmp_path: Path) -> Path:
    path = tmp_path / "state" / "found.json"
    kept.write(kernel, path, FOUND)
    return path


def test_read_back(path: Path) -> None:
    assert kept.read(path) == FOUND


def test_nothing_there(tmp_path: Path) -> None:
    assert kept.read(tmp_path / "found.json") is None


def test_every_byte_counts(path: Path) -> None:
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        assert kept.read(path) is None
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        assert kept.read(path) is None
    path.write_bytes(whole + b"\n")
    assert kept.read(path) is None


def test_two_writers_one_whole_file(kernel: FakeKernel, path: Path) -> None:
    # The second one's beginning over the first one's end, as both write beside before renaming.
    longer = path.read_bytes()
    kept.write(kernel, path, {"of": "another"})
    shorter = path.read_bytes()
    path.write_bytes(shorter + longer[len(shorter) :])
    assert kept.read(path) is None
    kept.write(kernel, path, FOUND)
    assert kept.read(path) == FOUND


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_others_may_write(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert kept.read(path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses(path: Path) -> None:
    os.chown(path, 65534, 65534)
    assert kept.read(path) is None


def to_link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("change", [to_link, to_directory, to_pipe])
def test_no_plain_file(path: Path, change: Callable[[Path], None]) -> None:
    change(path)
    assert kept.read(path) is None


@pytest.mark.parametrize("at", [0, 1])
def test_a_full_disk_is_no_error(kernel: FakeKernel, tmp_path: Path, at: int) -> None:
    kernel.fail(at, errno.ENOSPC)
    kept.write(kernel, tmp_path / "found.json", FOUND)
    assert kept.read(tmp_path / "found.json") is None
