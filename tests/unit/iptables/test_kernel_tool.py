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


def test_two_at_once_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool = tmp_path / "iptables-legacy-save"
    once = (
        'flock --nonblock "$XTABLES_LOCKFILE" true && echo mine; stat -Lc %i "$XTABLES_LOCKFILE"'
    )
    tool.write_text(f"#!/bin/sh\n{once}\n")
    tool.chmod(0o755)
    said = [KernelTool("legacy").run(Family.IPV4, "save", [])[1] for _ in range(2)]
    assert all(text.startswith(b"mine\n") for text in said)
