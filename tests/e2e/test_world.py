"""What is done to the machine underneath: its mounts, its disk; told and survived."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfilter import format_saved
from tests.e2e.test_apply import rules
from tests.harness.world import in_world

pytestmark = pytest.mark.e2e


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "rules.v4"
    path.write_text(format_saved(rules("-A INPUT -p icmp -j DROP")))
    return str(path)


def test_the_machines_own_mount_out_of_sight_is_not_ours(saved: str) -> None:
    said = in_world(
        """
        bpfilter apply "$1"
        bpfilter list INPUT
        grep -c '/run/bpfilter/bpf .* bpf ' /proc/self/mountinfo
        """,
        saved,
    )
    assert said.splitlines()[1] == "-A INPUT -p icmp -j DROP"


def test_many_at_once_mount_once(saved: str) -> None:
    said = in_world(
        """
        for n in 1 2 3 4 5 6; do bpfilter apply "$1" & done
        wait
        umount /run/bpfilter/bpf
        stat -f -c %T /run/bpfilter/bpf
        """,
        saved,
    )
    assert said == "tmpfs\n"
