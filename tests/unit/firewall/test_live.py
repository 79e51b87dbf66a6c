"""What a kernel lacks is said in one sentence; BPF and hooks are a fake's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfilter.abi import bpf as abi
from bpfilter.abi.bpf import Command, ProgramType
from bpfilter.cli.main import main
from bpfilter.errors import KernelError
from tests.harness.fake_kernel import FakeKernel
from tests.unit.btf.types import sample

RULES = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p icmp -j DROP\nCOMMIT\n"


class OldKernel(FakeKernel):
    """Linux 6.3 or older: it does not know netfilter programs."""

    def _prog_load(self, attr: bytearray, op: str) -> int:
        if abi.PROG_LOAD.get(attr, "prog_type") == ProgramType.NETFILTER:
            raise KernelError(op, errno.EINVAL)
        return super()._prog_load(attr, op)


class FullKernel(OldKernel):
    """One with no memory left for programs, of which nobody can tell what it has."""

    def bpf(self, command: Command, attr: bytearray, op: str) -> int:
        if command in (Command.PROG_LOAD, Command.MAP_CREATE):
            raise KernelError(op, errno.ENOMEM)
        return super().bpf(command, attr, op)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.v4"
    path.write_text(RULES)
    return path


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeKernel]:
    """The kernel that commands meet, of the class given as parameter."""
    kernel: FakeKernel = request.param(tmp_path / "root")
    patch = pytest.MonkeyPatch()
    patch.setattr("bpfilter.kernel.linux.LinuxKernel", lambda: kernel)
    yield kernel
    patch.undo()
    assert not kernel.alive()
    kernel.close()


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
@pytest.mark.parametrize("running", [OldKernel], indirect=True)
def test_no_netfilter_programs(
    running: FakeKernel, rules: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    running.btf = sample()
    assert main(["apply", *options, str(rules)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "bpfilter: this kernel has no eBPF programs at netfilter hooks (it came with Linux 6.4); "
        "it needs CONFIG_NETFILTER_BPF_LINK=y\n"
    )


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
@pytest.mark.parametrize("running", [FakeKernel], indirect=True)
def test_no_type_information(
    running: FakeKernel, rules: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", *options, str(rules)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "no type information of itself" in said.err


@pytest.mark.parametrize("running", [FullKernel], indirect=True)
def test_no_answer_leaves_the_first_error(
    running: FakeKernel, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running.btf = sample()
    assert main(["apply", str(rules)]) == 3
    assert "sk_buff" in capsys.readouterr().err
