from __future__ import annotations

import os

import pytest

from bpfilter.kernel.fd import Fd
from bpfilter.kernel.memory import Memory, c_string
from tests.harness.leaks import no_leaked_descriptors


def _null() -> Fd:
    return Fd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))


def test_close_is_idempotent_and_ends_the_descriptor() -> None:
    with no_leaked_descriptors():
        fd = _null()
        number = fd.number
        fd.close()
        fd.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    assert not fd.is_open


def test_with_block_closes_also_on_error() -> None:
    with no_leaked_descriptors(), pytest.raises(ZeroDivisionError), _null():
        _ = 1 / 0


def test_disown_leaves_the_descriptor_open() -> None:
    fd = _null()
    number = fd.disown()
    fd.close()
    os.fstat(number)
    os.close(number)


def test_duplicate_is_another_descriptor_of_the_same_file() -> None:
    with _null() as fd, fd.duplicate() as other:
        assert fd.number != other.number
        assert os.fstat(fd.number).st_ino == os.fstat(other.number).st_ino


def test_forgetting_a_descriptor_warns_and_closes() -> None:
    with no_leaked_descriptors(), pytest.warns(ResourceWarning, match="never closed"):
        _null()


def test_leak_check_sees_a_leak() -> None:
    with pytest.raises(AssertionError, match="left open"), no_leaked_descriptors():
        kept = _null()
    kept.close()


def test_memory_is_readable_at_its_address() -> None:
    import ctypes

    assert ctypes.string_at(c_string("/a/b").address) == b"/a/b"
    memory = Memory(4)
    ctypes.memmove(memory.address, b"abcd", 4)
    assert bytes(memory) == b"abcd"
