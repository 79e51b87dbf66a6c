"""The kernel's own iptables, run in the middle of something."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfilter import Family
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.iptables.lock import held, xtables_lock


def test_it_holds_the_lock_though_we_may_be_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(lock))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool = tmp_path / "iptables-nft-save"
    tool.write_text("#!/bin/sh\nls -l /proc/self/fd\n")
    tool.chmod(0o755)

    def descriptors() -> str:
        status, output, _ = KernelTool("nft").run(Family.IPV4, "save", [])
        assert status == 0
        return output.decode()

    assert str(lock) not in descriptors()
    with xtables_lock(0):
        assert len(held()) == 1
        assert str(lock) in descriptors()
    assert not held()
    assert str(lock) not in descriptors()
