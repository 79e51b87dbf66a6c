"""Tests on the running kernel, in network namespaces they make themselves."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfilter.bpf import pins
from bpfilter.btf.query import KernelTypes
from bpfilter.kernel import restrict
from bpfilter.kernel.linux import LinuxKernel
from tests.harness.leaks import no_leaked_descriptors

_serial = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(autouse=True)
def _privileged() -> None:
    if not restrict.read_facts().has(restrict.Capability.CAP_SYS_ADMIN):
        pytest.skip("needs root on this machine")


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail the test if it leaves descriptors open."""
    with no_leaked_descriptors():
        yield


@pytest.fixture(scope="session")
def kernel() -> LinuxKernel:
    return LinuxKernel()


@pytest.fixture(scope="session")
def types(kernel: LinuxKernel) -> KernelTypes:
    return KernelTypes.of_kernel(kernel)


@pytest.fixture
def netns() -> Iterator[str]:
    """Give the name of a network namespace of this test's own."""
    name = f"bpfk-{os.getpid()}-{next(_serial)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def bpffs(kernel: LinuxKernel) -> Iterator[Path]:
    """Give a bpffs of this test's own, as this process reaches it."""
    path = Path(f"/run/bpfk-{os.getpid()}-{next(_serial)}")
    reached = kernel.mount_bpffs(path)
    yield reached
    pins.remove_tree(kernel, reached / "left")
    kernel.unmount_bpffs(path)
    reached.rmdir()
