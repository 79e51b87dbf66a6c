"""What LinuxKernel makes of a failure, without any privilege or change to the machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bpfilter.abi.bpf import Command
from bpfilter.errors import Error, KernelError, RestrictedError, UnsupportedError
from bpfilter.kernel import host, linux, restrict
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.kernel.restrict import Facts

ALL = (1 << 41) - 1


@pytest.mark.parametrize(
    ("command", "code", "kind", "said"),
    [
        (Command.MAP_CREATE, errno.ENOSYS, UnsupportedError, "CONFIG_BPF_SYSCALL"),
        (Command.MAP_CREATE, errno.EPERM, RestrictedError, "RLIMIT_MEMLOCK"),
        (Command.OBJ_PIN, errno.EPERM, KernelError, "not on a mounted bpffs"),
        (Command.OBJ_GET, errno.EACCES, KernelError, "no pinned object"),
        (Command.OBJ_GET, errno.ENOENT, KernelError, "No such file"),
        (Command.LINK_UPDATE, 524, KernelError, "Operation not supported"),
    ],
)
def test_errors_of_bpf(
    monkeypatch: pytest.MonkeyPatch, command: Command, code: int, kind: type[Error], said: str
) -> None:
    monkeypatch.setattr(restrict, "read_facts", lambda: Facts(capabilities=ALL))
    error = linux._bpf_error("try it", command, code)
    assert type(error) is kind
    shown = error.setting if isinstance(error, RestrictedError) else str(error)
    assert said in shown


def test_machine_without_a_known_number(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(os.uname())
    monkeypatch.setattr(os, "uname", lambda: os.uname_result([*names[:4], "pdp11"]))
    linux._bpf_number.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match="pdp11"):
            LinuxKernel().bpf(Command.MAP_CREATE, bytearray(8), "try it")
    finally:
        linux._bpf_number.cache_clear()


def test_kernel_without_type_information(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", missing)
    with pytest.raises(UnsupportedError, match="CONFIG_DEBUG_INFO_BTF"):
        LinuxKernel().vmlinux_btf()
    assert LinuxKernel().module_btf("nf_conntrack") is None


def test_lists_and_removals_of_what_is_not_there(tmp_path: Path) -> None:
    kernel = LinuxKernel()
    assert kernel.list_directory(tmp_path / "nothing") == []
    kernel.remove(tmp_path / "nothing")
    kernel.make_directory(tmp_path / "a" / "b")
    kernel.make_directory(tmp_path / "a" / "b")
    (tmp_path / "a" / "f").touch()
    assert kernel.list_directory(tmp_path / "a") == ["b", "f"]
    with pytest.raises(KernelError, match="remove"):
        kernel.remove(tmp_path / "a")
    with pytest.raises(KernelError, match="rename"):
        kernel.rename(tmp_path / "x", tmp_path / "y")


def test_type_information_has_a_name_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(linux, "_BTF", tmp_path)
    module = tmp_path / "nf_conntrack"
    names = [LinuxKernel().btf_identity("nf_conntrack")]
    for name in ("vmlinux", "nf_conntrack"):
        tmp_path.joinpath(name).write_bytes(b"types")
        names.append(LinuxKernel().btf_identity("nf_conntrack"))
    module.rename(tmp_path / "unloaded")
    module.write_bytes(b"types")  # loaded anew: another file of the same size
    names.append(LinuxKernel().btf_identity("nf_conntrack"))
    module.write_bytes(b"other types")
    names.append(LinuxKernel().btf_identity("nf_conntrack"))
    assert len(set(names)) == len(names)
    assert LinuxKernel().btf_identity("nf_conntrack") == names[-1]
    monkeypatch.setattr(host, "boot_id", lambda: "another boot")
    assert LinuxKernel().btf_identity("nf_conntrack") not in names


def test_files_are_for_nobody_else(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LinuxKernel().replace_file(tmp_path / "state", b"rules")
    finally:
        os.umask(before)
    assert tmp_path.joinpath("state").stat().st_mode & 0o777 == 0o600
