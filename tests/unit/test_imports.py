"""Starting takes most of a small command's time, and importing most of that.

A module takes 0.2 ms or more, some libraries ten. Nothing here is timed; what commands on a
real kernel import is held by tests/e2e/test_start.py.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bpfilter
from bpfilter.cli.main import COMMANDS

ROOT = Path(bpfilter.__file__).parent

#: Of Python's own, what takes long to import; `dataclasses` is what bpfilter.dataclass is for.
SLOW = {
    "asyncio",
    "dataclasses",
    "inspect",
    "logging",
    "multiprocessing",
    "platform",
    "shutil",
    "string",
    "subprocess",
    "tempfile",
    "threading",
    "traceback",
}
LIBRARIES = {"numpy", "pyroute2", "rich"}


def imported(code: str) -> set[str]:
    """Give the modules there are after some code, but for those that Python starts with."""
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint('after:', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    start = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.rpartition("after:")[2].split()) - set(start.stdout.split())


def test_version() -> None:
    found = imported("from bpfilter.cli.main import main; main(['--version'])")
    assert {name for name in found if name.startswith("bpfilter.")} == {
        "bpfilter.cli",
        "bpfilter.cli.main",
        "bpfilter.errors",
        "bpfilter.process",
    }
    assert not found & (SLOW | LIBRARIES | {"argparse", "pathlib", "json"})


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"check"}))
def test_reading_a_command_line(command: str) -> None:
    found = imported(f"from bpfilter.cli.main import command_parser; command_parser('{command}')")
    assert not found & (SLOW | LIBRARIES | {"json", "pathlib", "socket"})
    layers = {name.split(".")[1] for name in found if name.startswith("bpfilter.")}
    assert layers == {"cli", "dataclass", "errors", "process", "rules", "source"}


def test_rules_of_ipv4() -> None:
    found = imported(
        "from bpfilter import parse_saved, Family\n"
        "from bpfilter.compiler.build import compile_table\n"
        "rules = '-A INPUT -s 192.0.2.1 -p tcp -m tcp --dport 22 -j DROP'\n"
        "text = f'*filter\\n:INPUT ACCEPT [0:0]\\n{rules}\\nCOMMIT\\n'\n"
        "print(parse_saved(text, 'x', Family.IPV4))"
    )
    assert not found & (SLOW | LIBRARIES | {"socket", "ipaddress"})


def test_dataclasses_are_ours() -> None:
    # One class of the standard library's is 1 ms, and the first one 10 ms more.
    home = ROOT / "dataclass.py"
    wrong = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        if path != home
        and any(
            isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
        )
    ]
    assert not wrong, f"import from bpfilter.dataclass: {', '.join(wrong)}"
