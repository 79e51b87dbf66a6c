"""Many callers at once: no change is lost, and none is made twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

WRITERS, CHANGES = 32, 50

#: One writer: it puts rules in, at the end or in front, and takes out every fifth again.
WRITER = """
import sys
from bpfilter.iptables.program import main

writer, changes = int(sys.argv[1]), int(sys.argv[2])
for number in range(changes):
    rule = ["-s", f"10.1.{writer}.{number}", "-j", "DROP"]
    words = ["-A" if number % 2 else "-I", "INPUT", *rule]
    if number % 5 == 4:
        words = ["-D", "INPUT", *last]
    last = rule
    status = main(["iptables", "-w", *words])
    if status:
        sys.exit(f"{words}: {status}")
"""


def expected() -> list[str]:
    """Give the rules that stay, whatever their order."""
    return sorted(
        f"-A INPUT -s 10.1.{writer}.{number}/32 -j DROP"
        for writer in range(WRITERS)
        for number in range(CHANGES)
        if number % 5 < 3
    )


@pytest.mark.slow
def test_no_change_of_many_writers_is_lost(namespace: Namespace, tmp_path: Path) -> None:
    environment = {**os.environ, "XTABLES_LOCKFILE": str(tmp_path / "lock")}
    inside = ["nsenter", f"--net={namespace.path}", sys.executable, "-c"]
    writers = [
        subprocess.Popen(
            [*inside, WRITER, str(writer), str(CHANGES)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for writer in range(WRITERS)
    ]
    for each in writers:
        _, messages = each.communicate()
        assert each.returncode == 0, messages
    show = "import sys; from bpfilter.iptables.program import run; sys.argv[0] = 'iptables'; run()"
    done = subprocess.run(
        [*inside, show, "-S", "INPUT"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert sorted(done.stdout.splitlines()[1:]) == expected()
