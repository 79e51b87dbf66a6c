"""On any kernel: the rules are in force, or one sentence says what the kernel lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bpfilter.bpf.features import probe
from bpfilter.errors import UnsupportedError
from bpfilter.firewall.enforce import NEEDED
from bpfilter.kernel.linux import LinuxKernel
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

RULE = "-A INPUT -p icmp -j DROP"
COMMAND = "import bpfilter.cli.main as m; m.run()"


@pytest.fixture(scope="module")
def lacking() -> str:
    """What this kernel has not, in a sentence; nothing if it has all it takes."""
    try:
        probe(LinuxKernel()).require(*NEEDED)
    except UnsupportedError as error:
        return str(error)
    return ""


def run(namespace: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COMMAND, *words, "--netns", str(namespace.path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["", "dry-run"])
def test_apply(
    namespace: Namespace, tmp_path: Path, options: tuple[str, ...], lacking: str
) -> None:
    rules = tmp_path / "rules.v4"
    rules.write_text(f"*filter\n:INPUT ACCEPT [0:0]\n{RULE}\nCOMMIT\n")
    done = run(namespace, "apply", *options, str(rules))
    listed = run(namespace, "list")
    assert listed.returncode == 0, listed.stderr
    if lacking:
        assert (done.returncode, done.stdout, done.stderr) == (3, "", f"bpfilter: {lacking}\n")
        assert "it came with Linux" in lacking
    else:
        assert (done.returncode, done.stderr) == (0, "")
    assert (RULE in listed.stdout) == (not lacking and not options)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("list", "bpfilter: no rules are in force"),
        ("status", "IPv4: no rules in force"),
        ("zero", ""),
        ("clear", "bpfilter: nothing was in force"),
    ],
)
def test_commands_find_nothing_in_force(namespace: Namespace, command: str, says: str) -> None:
    done = run(namespace, command)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout + done.stderr


def iptables(namespace: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, bpfilter.iptables.program as p; sys.exit(p.main(['iptables', *sys.argv[1:]]))"
    )
    command = ["nsenter", f"--net={namespace.path}", sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_iptables_has_the_rule_enforced_by_somebody(namespace: Namespace, lacking: str) -> None:
    added = iptables(namespace, "-w", *RULE.split())
    assert (added.returncode, added.stdout + added.stderr) == (0, "")
    assert RULE in iptables(namespace, "-S", "INPUT").stdout.splitlines()
    status = json.loads(run(namespace, "status", "--json").stdout)
    delegated = [family["delegated"] for family in status["families"]]
    assert (delegated[0] is not None) == bool(lacking), delegated
    if lacking:
        assert delegated[0]["reason"] == lacking
    assert iptables(namespace, "-w", "-F").returncode == 0
    assert RULE not in iptables(namespace, "-S", "INPUT").stdout
