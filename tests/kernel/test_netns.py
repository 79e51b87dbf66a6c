from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bpfilter.abi.bpf import ProgramType
from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0
from bpfilter.bpf.link import Link, NetfilterLink, netfilter_links
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.errors import BusyError, KernelError, UnsupportedError
from bpfilter.kernel.linux import LinuxKernel

pytestmark = pytest.mark.usefixtures("no_leaks")


def _verdict(kernel: LinuxKernel, verdict: int) -> Program:
    b = Builder("test")
    b.mov(R0, verdict)
    b.exit()
    return Program.load(kernel, ProgramSpec("test", ProgramType.NETFILTER, b.build()))


def _can_ping(netns: str) -> bool:
    command = ["ip", "netns", "exec", netns, "ping", "-c1", "-W1", "-q", "127.0.0.1"]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_link_decides_in_its_namespace_alone(kernel: LinuxKernel, netns: str) -> None:
    subprocess.run(["ip", "-n", netns, "link", "set", "lo", "up"], check=True)
    assert _can_ping(netns)
    with _verdict(kernel, 0) as drop:
        with kernel.in_netns(netns):
            link = NetfilterLink.attach(kernel, drop, family=2, hook=1, priority=-1)
        with link:
            info = link.info()
            assert (info.family, info.hook, info.priority) == (2, 1, -1)
            assert info.program_id == drop.info().id
            assert info in netfilter_links(kernel)
            assert not _can_ping(netns)
            with pytest.raises(UnsupportedError, match="update"):
                link.update(drop)
            link.detach()
            assert _can_ping(netns)


def test_pinned_link_stays_and_taken_priority_is_busy(
    kernel: LinuxKernel, netns: str, bpffs: Path
) -> None:
    with _verdict(kernel, 1) as accept, kernel.in_netns(netns):
        with NetfilterLink.attach(kernel, accept, family=2, hook=1, priority=-1) as link:
            link.pin(bpffs / "link")
            number = link.info().id
        with pytest.raises(KernelError) as raised:
            NetfilterLink.attach(kernel, accept, family=2, hook=1, priority=-1)
        assert raised.value.errno == errno.EBUSY
        assert "IPv4 INPUT at priority -1" in str(raised.value)
        with Link.open(kernel, bpffs / "link") as again, Link.by_id(kernel, number) as by_id:
            assert again.info() == by_id.info()
            again.detach()
        kernel.remove(bpffs / "link")
        NetfilterLink.attach(kernel, accept, family=2, hook=1, priority=-1).close()


def test_thread_comes_back_from_a_namespace(kernel: LinuxKernel, netns: str) -> None:
    home = (kernel.netns_inode(), kernel.netns_cookie())
    with kernel.in_netns(netns):
        assert kernel.netns_inode() == os.stat(f"/run/netns/{netns}").st_ino
        assert kernel.netns_cookie() != home[1]
    with pytest.raises(ZeroDivisionError), kernel.in_netns(netns):
        _ = 1 / 0
    assert (kernel.netns_inode(), kernel.netns_cookie()) == home
    with kernel.in_netns(Path("/run/netns", netns)), kernel.in_netns(None):
        assert kernel.netns_inode() != home[0]
    with kernel.in_scratch_netns():
        assert kernel.netns_inode() != home[0]
    assert kernel.netns_inode() == home[0]


def test_namespace_that_is_none(kernel: LinuxKernel) -> None:
    with pytest.raises(KernelError, match="ip netns list"), kernel.in_netns("bpfk-nothing"):
        pass
    with pytest.raises(KernelError, match="no network namespace"), kernel.in_netns("/dev/null"):
        pass


def test_bpffs_is_reached_from_a_private_mount_namespace(
    kernel: LinuxKernel, netns: str, bpffs: Path
) -> None:
    # What `ip netns exec` leaves behind must be seen here after it has ended.
    code = (
        "import sys; from pathlib import Path\n"
        "from bpfilter.kernel.linux import LinuxKernel\n"
        "from bpfilter.bpf.maps import Map; from bpfilter.bpf.spec import MapSpec\n"
        "from bpfilter.abi.bpf import MapType\n"
        "kernel = LinuxKernel(); reached = kernel.mount_bpffs(Path(sys.argv[1]))\n"
        "assert str(reached).startswith('/proc/'), reached  # another's mount namespace\n"
        "with Map.create(kernel, MapSpec('m', MapType.ARRAY, 4, 4, 1)) as made:\n"
        "    made.pin(reached / 'm')\n"
        "assert kernel.vmlinux_btf()\n"
    )
    command = ["ip", "netns", "exec", netns, sys.executable, "-c", code, str(bpffs)]
    subprocess.run(command, check=True)
    assert "m" in kernel.list_directory(bpffs)
    assert kernel.mount_bpffs(bpffs) == bpffs  # it is there already
    kernel.remove(bpffs / "m")


def test_pin_outside_a_bpffs_says_so(kernel: LinuxKernel, tmp_path: Path) -> None:
    with _verdict(kernel, 1) as accept:
        with pytest.raises(KernelError, match="not on a mounted bpffs"):
            accept.pin(tmp_path / "pin")
        with pytest.raises(KernelError) as raised:
            accept.pin(tmp_path / "nothing" / "pin")
        assert raised.value.errno == errno.ENOENT
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match="no pinned object"):
        Program.open(kernel, tmp_path / "file")


def test_lock_is_held_by_one(kernel: LinuxKernel, tmp_path: Path) -> None:
    path = tmp_path / "below" / "lock"
    with (
        kernel.lock(path),
        pytest.raises(BusyError, match="another process"),
        kernel.lock(path, 0.1),
    ):
        pass
    with kernel.lock(path):
        pass
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_lock_shared_by_those_who_only_look(kernel: LinuxKernel, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(KernelError) as raised, kernel.lock(path, shared=True):
        pass
    assert raised.value.errno == errno.ENOENT
    assert not path.exists()
    with kernel.lock(path), pytest.raises(BusyError), kernel.lock(path, shared=True):
        pass
    with (
        kernel.lock(path, shared=True),
        kernel.lock(path, shared=True),
        pytest.raises(BusyError),
        kernel.lock(path),
    ):
        pass


def test_lock_that_its_holder_removes(kernel: LinuxKernel, tmp_path: Path) -> None:
    # Who waited for it must not hold it beside one that found no file, and made another.
    path = tmp_path / "lock"
    with kernel.lock(path):
        held = os.open(path, os.O_RDWR)
        path.unlink()
    with kernel.lock(path):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(held)
        with pytest.raises(BusyError), kernel.lock(path):
            pass


def test_namespace_of_a_process_or_an_open_file_is_used(kernel: LinuxKernel) -> None:
    """What only a socket holds cannot be told."""
    home = kernel.netns_inode()
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as sleeper:
        try:
            while (inode := os.stat(f"/proc/{sleeper.pid}/ns/net").st_ino) == home:
                time.sleep(0.01)
            held = os.open(f"/proc/{sleeper.pid}/ns/net", os.O_RDONLY)
            assert kernel.unused_netns([inode, home]) == set()
        finally:
            sleeper.kill()
    assert kernel.unused_netns([inode, home]) == set()
    os.close(held)
    assert kernel.unused_netns([inode, home]) == {inode}


def test_named_namespace_is_used(kernel: LinuxKernel, netns: str) -> None:
    inode = os.stat(f"/run/netns/{netns}").st_ino
    assert kernel.unused_netns([inode]) == set()
    held = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    subprocess.run(["ip", "netns", "del", netns], check=True)
    assert kernel.unused_netns([inode]) == set()
    os.close(held)
    assert kernel.unused_netns([inode]) == {inode}
    subprocess.run(["ip", "netns", "add", netns], check=True)


def test_file_replaced_whole_or_not_at_all(kernel: LinuxKernel, tmp_path: Path) -> None:
    path = tmp_path / "file"
    kernel.replace_file(path, b"one")
    kernel.replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(KernelError, match="write /dev/full/file: Not a directory"):
        kernel.replace_file(Path("/dev/full/file"), b"three")
    assert os.listdir(tmp_path) == ["file"]


UNPRIVILEGED = """
import os
from pathlib import Path
from bpfilter.abi.bpf import MapType
from bpfilter.bpf.maps import Map
from bpfilter.bpf.spec import MapSpec
from bpfilter.errors import RestrictedError
from bpfilter.kernel.linux import LinuxKernel
os.setgroups([]); os.setgid(65534); os.setuid(65534)
kernel = LinuxKernel()
for attempt in (
    lambda: Map.create(kernel, MapSpec("m", MapType.HASH, 4, 4, 1)),
    lambda: kernel.mount_bpffs(Path("/run/bpfk-never")),
    lambda: kernel.in_scratch_netns().__enter__(),
):
    try:
        attempt()
    except RestrictedError as error:
        print(error)
"""


def test_without_privileges_each_error_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout
    assert lines[0].startswith("create map m: ")
    assert "CAP_BPF" in lines[0]
    assert "as root" in lines[0]
    assert all("CAP_SYS_ADMIN" in line for line in lines[1:])
