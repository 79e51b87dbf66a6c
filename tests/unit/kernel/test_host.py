from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpfilter.errors import AbiError
from bpfilter.kernel import host, netns
from bpfilter.kernel.linux import LinuxKernel


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", [0]), ("0-3\n", [0, 1, 2, 3]), ("0-1,4,6-7", [0, 1, 4, 6, 7]), ("2-2", [2])],
)
def test_cpu_list(text: str, numbers: list[int]) -> None:
    assert host.parse_cpu_list(text) == set(numbers)


def test_cpus_whose_numbers_leave_some_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "possible_cpus", lambda: host.parse_cpu_list("0-1,8-9"))
    assert LinuxKernel().possible_cpus() == 4
    assert LinuxKernel().cpu_numbers() == 10


@pytest.mark.parametrize("text", ["", "a", "0-", "0,,1", "-1"])
def test_cpu_list_that_is_none(text: str) -> None:
    with pytest.raises(AbiError, match="list of CPUs"):
        host.parse_cpu_list(text)


MOUNTINFO = """\
22 1 0:20 / /proc rw,nosuid - proc proc rw
40 1 0:30 / /run rw shared:5 - tmpfs tmpfs rw,size=100k
41 40 0:31 / /run/a\\040b rw shared:6 master:1 - bpf bpf rw,mode=700
42 40 0:32 / /run/bpf rw - bpf bpf rw
43 42 0:33 / /run/bpf rw - tmpfs over rw
"""


@pytest.mark.parametrize(
    ("path", "minor", "kind"),
    [
        ("/proc", 20, "proc"),
        ("/run", 30, "tmpfs"),
        ("/run/a b", 31, "bpf"),
        ("/run/bpf", 33, "tmpfs"),  # the upper of two
        ("/run/bpf", 30, None),  # /run is mounted over both, and has a directory bpf
        ("/run/bpf/below", 33, None),
    ],
)
def test_mount_type(path: str, minor: int, kind: str | None) -> None:
    assert host.mount_type(MOUNTINFO, Path(path), os.makedev(0, minor)) == kind


def test_mounted_network_namespaces() -> None:
    names = "50 30 0:4 net:[4026532177] /run/netns/a rw - nsfs nsfs rw\n"
    names += "51 30 0:4 mnt:[4026532178] /run/snapd/ns/b rw - nsfs nsfs rw\n"
    assert list(host.mounted_namespaces(MOUNTINFO + names)) == [4026532177]


def test_clock_hz_is_a_rate_kernels_are_built_with() -> None:
    assert host.clock_hz() in (24, 32, 48, 64, 100, 128, 200, 250, 256, 300, 500, 512, 1000, 1024)


def test_own_namespace_is_the_same() -> None:
    assert host.is_same_namespace("mnt", "self")


@pytest.mark.parametrize(
    ("netns", "path"),
    [("blue", "/run/netns/blue"), ("/proc/7/ns/net", "/proc/7/ns/net"), ("./x", "x")],
)
def test_namespace_by_name_or_path(netns: str, path: str) -> None:
    assert netns_path(netns) == Path(path)


def netns_path(text: str) -> Path:
    return netns.path_of(text)
