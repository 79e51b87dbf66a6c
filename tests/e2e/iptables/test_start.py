"""What a command of iptables-bpf imports: it is called hundreds of times in a row."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.netns import Namespace
from tests.unit.test_imports import LIBRARIES, SLOW

pytestmark = pytest.mark.e2e

RUN = """\
import atexit, sys
before = set(sys.modules)
atexit.register(lambda: print("imported:", *set(sys.modules) - before, file=sys.stderr))
from bpfilter.iptables.program import main
status = main(sys.argv[1:])
assert status == 0, status
"""
#: What an edit waits in for programs to end.
WAITING = {"threading"}
NEVER = (SLOW | LIBRARIES | {"socket", "select", "argparse"}) - WAITING

Imported = Callable[..., set[str]]


def saved(rules: int) -> str:
    lines = [f"-A INPUT -s 10.0.{n >> 8}.{n & 255}/32 -j DROP" for n in range(rules)]
    return "\n".join(["*filter", *lines, "COMMIT", ""])


@pytest.fixture
def imported(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Imported:
    """Give what does a command in the namespace, and gives the modules it imported."""
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "lock"))

    def do(*words: str, stdin: str = "") -> set[str]:
        command = ("nsenter", f"--net={namespace.path}", sys.executable, "-c", RUN, *words)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return set(done.stderr.rpartition("imported:")[2].split())

    return do


@pytest.mark.parametrize("rules", [100, 10_000])
def test_an_edit_takes_no_compiler(imported: Imported, rules: int) -> None:
    imported("iptables-restore", stdin=saved(rules))
    # The first one after a load has programs to make for the other slot.
    imported("iptables", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
    for letter in "ACD":
        found = imported("iptables", f"-{letter}", "INPUT", "-s", "192.0.2.2", "-j", "DROP")
        assert not (found & NEVER), (letter, found & NEVER)
        assert "bpfilter.compiler.build" not in found
        assert "bpfilter.compiler.bulk" not in found
        assert not {name for name in found if name.startswith("bpfilter.cli")}


def test_a_small_table_is_compiled_without_libraries(imported: Imported) -> None:
    imported("iptables", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
    found = imported("iptables", "-A", "INPUT", "-s", "192.0.2.2", "-j", "DROP")
    assert not found & (NEVER | WAITING)


@pytest.mark.parametrize("words", [["-S"], ["-L", "-n", "-v"]])
def test_looking_takes_no_more(imported: Imported, words: list[str]) -> None:
    imported("iptables-restore", stdin=saved(10_000))
    found = imported("iptables", *words)
    assert not found & (NEVER | WAITING)
    assert not {name for name in found if name.startswith("bpfilter.asm")}


def test_who_we_are_is_said_at_once(imported: Imported) -> None:
    assert not imported("iptables", "-V") & (NEVER | WAITING | {"json.decoder"})
