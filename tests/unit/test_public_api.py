"""The names `from bpfilter import …` gives, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bpfilter

HEAVY = ("numpy", "rich", "pyroute2", "asyncio", "ctypes", "socket", "subprocess", "json")


@pytest.mark.parametrize("name", bpfilter.__all__)
def test_public_names_import(name: str) -> None:
    found = getattr(bpfilter, name)
    assert found.__name__ == name
    assert found.__doc__, f"{name} is public and has no docstring"


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(bpfilter.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen, key=str) == sorted(bpfilter.__all__)
    assert seen == {name: f"bpfilter.{home}" for name, home in bpfilter._HOME.items()}


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Fire'"):
        _ = bpfilter.Fire


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing() -> None:
    loaded = modules_after("import bpfilter")
    assert {name for name in loaded if name.startswith("bpfilter.")} == set()
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "statement",
    [
        "from bpfilter import Firewall, parse_saved",
        "from bpfilter.cli.main import main; main(['--version'])",
        "from bpfilter.cli.main import command_parser; command_parser('apply')",
    ],
)
def test_commands_start_without_heavy_libraries(statement: str) -> None:
    assert modules_after(statement).isdisjoint({"numpy", "rich", "pyroute2"})


def test_parsing_rules_loads_only_what_they_use() -> None:
    loaded = modules_after(
        "from bpfilter import parse_saved, Family\n"
        "text = '*filter\\n:INPUT ACCEPT [0:0]\\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\\n'\n"
        "parse_saved(text + 'COMMIT\\n', 'x', Family.IPV4)"
    )
    assert "bpfilter.ext.tcp" in loaded
    assert "bpfilter.ext.conntrack" not in loaded
    assert not any(name.startswith(("bpfilter.kernel", "bpfilter.bpf.")) for name in loaded)


def test_check_needs_nothing_of_linux() -> None:
    code = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'grp', 'pwd', 'termios', 'ctypes', 'mmap', 'numpy',\n"
        "             'pyroute2', 'rich'):\n"
        "    sys.modules[name] = None\n"
        "from bpfilter.cli.main import main\n"
        "status = main(['check', 'docs/examples/host.v4', '--in', 'eth0', '--json',\n"
        "               '--packet', 'tcp 192.0.2.7:40000 > 203.0.113.9:22 syn'])\n"
        "sys.exit(status)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr
    assert '"verdict": "ACCEPT"' in done.stdout
