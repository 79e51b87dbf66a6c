"""Standard streams that are closed, full, or that nobody reads: a command does what it would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfilter import Firewall
from bpfilter.rules.model import Family
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

RUN = "import sys; from bpfilter.iptables.program import run; sys.argv[:1] = []; run()"
CLOSED = (">&-", "2>&-", "<&- >&- 2>&-")

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(namespace: Namespace, tmp_path: Path) -> Shell:
    """Give what runs a line of shell, in which `run NAME` is a program of ours."""
    conf = tmp_path / "conf"
    conf.write_text("kernel-tool = legacy\n")
    environment = {
        **os.environ,
        "XTABLES_LOCKFILE": str(tmp_path / "lock"),
        "BPFILTER_CONF": str(conf),
        "RUN": RUN,
        "PYTHON": sys.executable,
    }
    define = 'run() { "$PYTHON" -c "$RUN" "$@"; }\n'

    def do(line: str) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", f"--net={namespace.path}", "bash", "-c", define + line]
        return subprocess.run(inside, capture_output=True, text=True, check=False, env=environment)

    return do


@pytest.mark.parametrize("closed", CLOSED)
def test_closed(shell: Shell, firewall: Firewall, closed: str) -> None:
    for words in ("-v -A INPUT -j ACCEPT", "-S", "-L", "-h", "-A INPUT -j LOG", "-N own"):
        done = shell(f"run iptables {words} {closed}")
        assert (done.returncode, done.stderr) == (0, ""), words
    assert firewall.delegated(Family.IPV4)
    assert shell(f"run iptables -N own {closed}").returncode == 1
    assert shell(f"run iptables-save {closed}").returncode == 0
    # It comes back although nobody can be told.
    assert shell(f"run iptables -v -D INPUT -j LOG {closed}").returncode == 0
    assert not firewall.delegated(Family.IPV4)


def test_errors_do_not_go_elsewhere(shell: Shell) -> None:
    done = shell("run iptables -F none 2>&-")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("words", ["iptables -S", "iptables -L", "iptables-save -t filter"])
def test_full(shell: Shell, words: str) -> None:
    done = shell(f"run {words} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_nobody_reads(shell: Shell) -> None:
    text = "*filter\\n" + "-A INPUT -s 192.0.2.1\\n" * 500 + "COMMIT\\n"
    line = f"printf '{text}' | run iptables-restore -v | true; echo ${{PIPESTATUS[1]}}"
    said = shell(line).stdout
    rules = shell("run iptables -S INPUT").stdout.count("-A")
    # Whether it was done or not, the status says so.
    assert (said, rules) in {("0\n", 500), ("141\n", 0), ("141\n", 500)}
