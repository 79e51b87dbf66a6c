"""What commands on a small table import in a real namespace: most of their time goes there.

Not timed: tests of time fail on busy machines, and `tests/unit/test_imports.py` says what
an import costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.netns import Namespace
from tests.unit.test_imports import LIBRARIES, SLOW

pytestmark = pytest.mark.e2e

RUN = """\
import atexit, sys
before = set(sys.modules)
atexit.register(lambda: print("imported:", *set(sys.modules) - before, file=sys.stderr))
from bpfilter.cli.main import run
run()
"""

RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 22 -j DROP
COMMIT
"""


def imported(*words: str) -> set[str]:
    """Give the modules that a command imports; it has to succeed."""
    command = (sys.executable, "-c", RUN, *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("imported:")[2].split())


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.v4"
    path.write_text(RULES)
    return str(path)


@pytest.fixture
def applied(namespace: Namespace, rules: str) -> set[str]:
    """Put rules in force, then others; what the second time imports."""
    words = ("apply", "--netns", str(namespace.path), rules)
    imported(*words)
    Path(rules).write_text(RULES.replace("INPUT ACCEPT", "INPUT DROP"))
    return imported(*words)


def test_apply(applied: set[str]) -> None:
    assert "bpfilter.compiler.build" in applied
    assert not applied & (SLOW | LIBRARIES | {"socket", "select"})
    # Asked and answered before; see firewall/types.py and firewall/quirks.py.
    assert not applied & {"bpfilter.btf.reader", "bpfilter.btf.search", "bpfilter.bpf.features"}
    assert not {name for name in applied if name.startswith("bpfilter.simulate")}
    start = "bpfilter.compiler.extract."
    extracting = {name.removeprefix(start) for name in applied if name.startswith(start)}
    assert extracting == {"ipv4", "metadata", "transport"}
    extensions = {name for name in applied if name.startswith("bpfilter.ext.")}
    assert extensions == {"bpfilter.ext.tcp"}


@pytest.mark.usefixtures("applied")
def test_status(namespace: Namespace) -> None:
    found = imported("status", "--netns", str(namespace.path))
    assert not found & (SLOW | LIBRARIES | {"socket", "select"})
    layers = {name.split(".")[1] for name in found if name.startswith("bpfilter.")}
    assert layers == {
        "abi",
        "bpf",
        "btf",
        "cli",
        "compiler",  # but for its counters' places, none of it
        "dataclass",
        "errors",
        "firewall",
        "iptables",  # its configuration, and where the kernel's own is
        "kernel",
        "process",
        "rules",
        "source",
    }
    compiling = {name for name in found if name.startswith("bpfilter.compiler.")}
    assert compiling == {"bpfilter.compiler.counters"}
    assert {name for name in found if name.startswith("bpfilter.rules.")} == {
        "bpfilter.rules.model"
    }


@pytest.mark.usefixtures("applied")
def test_list(namespace: Namespace) -> None:
    found = imported("list", "--netns", str(namespace.path))
    assert not found & (SLOW | LIBRARIES | {"socket", "select"})
    layers = {name.split(".")[1] for name in found if name.startswith("bpfilter.")}
    assert "asm" not in layers
    assert "bpfilter.compiler.build" not in found


@pytest.mark.usefixtures("applied")
def test_types_are_kept_where_only_root_writes() -> None:
    path = Path("/run/bpfilter/state/types.json")
    about = path.stat()
    assert about.st_uid == os.geteuid()
    assert about.st_mode & 0o077 == 0
    kept = json.loads(path.read_text().partition("\n")[2])
    assert any(question.startswith("member sk_buff") for question in kept["answers"])


def test_apply_of_many(namespace: Namespace, tmp_path: Path) -> None:
    lines = [
        f"-A INPUT -s 198.51.{n >> 8}.{n & 255}/32 -p tcp -m tcp --dport {n % 7 + 1} -j DROP"
        for n in range(2000)
    ]
    path = tmp_path / "rules.v4"
    path.write_text(RULES.replace("COMMIT", "\n".join((*lines, "COMMIT"))))
    found = imported("apply", "--netns", str(namespace.path), str(path))
    assert "numpy" in found
    assert not found & {"numpy.ma", "socket", "dataclasses", "logging", "rich", "pyroute2"}
