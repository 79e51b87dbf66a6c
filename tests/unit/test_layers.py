"""Imports go down only: a walk over every import in the package.

cli → iptables → firewall → bpf → kernel
      firewall → compiler → ext → rules → plan
cli → simulate → compiler → bpf.spec → asm, btf
everything may import abi, dataclass, errors, source; kernel, asm and btf import only those
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import bpfilter

ROOT = Path(bpfilter.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

EVERYWHERE = {"abi", "dataclass", "errors", "source"}
PURE_RULES = {"ext", "rules", "plan"}
COMPILING = PURE_RULES | {"compiler", "asm", "btf", "bpf.spec"}

#: A layer, and what it may import of ours besides itself and EVERYWHERE.
ALLOWED: dict[str, set[str]] = {
    "dataclass": set(),
    "errors": set(),
    "source": set(),
    "abi": set(),
    "asm": set(),
    "btf": set(),
    "kernel": set(),
    "plan": set(),
    "rules": {"plan"},
    "ext": {"rules", "plan"},
    "bpf.spec": {"asm"},
    "bpf": {"kernel", "asm", "btf", "bpf.spec"},
    "compiler": COMPILING,
    "simulate": COMPILING,
    "firewall": COMPILING | {"bpf", "kernel"},
    "process": set(),
    "iptables": PURE_RULES | {"compiler", "firewall", "kernel", "process"},
    # `__init__` is the package itself: it names what is public, imports it when it is used.
    "cli": PURE_RULES | {"compiler", "simulate", "firewall", "iptables", "process", "__init__"},
    "__init__": {"rules", "firewall", "simulate"},
}

#: Runs on any operating system: no Unix-only module, and nothing of the running machine.
PURE = ("plan", "rules", "ext", "compiler", "asm", "btf", "bpf.spec", "simulate", "abi")
UNIX_ONLY = {"fcntl", "grp", "pwd", "resource", "pty", "termios", "select", "mmap"}
OF_THIS_MACHINE = {"ctypes", "subprocess", "platform", "pyroute2", "multiprocessing", "threading"}

#: Heavy, or not there without an installation: only inside the functions that use them.
LATE = {"numpy", "rich", "pyroute2"}

#: Modules that are numpy throughout and import it at the top; they are imported late themselves.
BULK = (
    {
        f"bpfilter.compiler.index.{name}"
        for name in (
            "blob",
            "buckets",
            "build",
            "cuts",
            "kinds",
            "pieces",
            "filters",
            "rows",
            "runs",
            "tuples",
            "windows",
        )
    }
    | {
        f"bpfilter.rules.{name}"
        for name in (
            "bulk",
            "columns",
            "cutting",
            "distinct",
            "expand",
            "keys",
            "lexing",
            "reach",
            "rewrite",
            "section",
        )
    }
    | {f"bpfilter.compiler.{name}" for name in ("bulk", "bulk_layout", "keys")}
    | {"bpfilter.firewall.large"}
)


def layer(module: str) -> str:
    """Name the layer of `bpfilter.<layer>.…`; the specs are a layer of their own."""
    parts = module.split(".")
    if parts[1:3] == ["bpf", "spec"]:
        return "bpf.spec"
    return parts[1] if len(parts) > 1 else "__init__"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Give what is imported, anywhere in a module, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports here are absolute"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if is_module(full) else node.module, node.lineno


@cache
def is_module(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@dataclass(frozen=True)
class Import:
    """`importer` imports `name`; the library or package is its first word."""

    importer: str
    line: int
    name: str

    @property
    def library(self) -> str:
        return self.name.split(".")[0]

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.name}"


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {module_name(path): ast.parse(path.read_text("utf-8")) for path in MODULES}


@pytest.fixture(scope="module")
def everything(trees: dict[str, ast.Module]) -> list[Import]:
    return [
        Import(module, line, name)
        for module, tree in trees.items()
        for name, line in imports(tree)
    ]


def complain(wrong: list[Import]) -> None:
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def test_every_layer_has_its_place(trees: dict[str, ast.Module]) -> None:
    assert {layer(module) for module in trees} == set(ALLOWED)


def test_imports_go_down_only(everything: list[Import]) -> None:
    def is_allowed(found: Import) -> bool:
        own = layer(found.importer)
        return layer(found.name) in ALLOWED[own] | EVERYWHERE | {own}

    ours = [found for found in everything if found.library == "bpfilter"]
    assert len(ours) > 500  # the walk finds them
    complain([found for found in ours if not is_allowed(found)])


def test_one_door_to_the_kernel(everything: list[Import]) -> None:
    doors = [found for found in everything if found.library == "ctypes"]
    assert doors
    complain([found for found in doors if layer(found.importer) != "kernel"])


def test_pure_layers_run_anywhere(everything: list[Import]) -> None:
    complain(
        [
            found
            for found in everything
            if layer(found.importer) in PURE and found.library in UNIX_ONLY | OF_THIS_MACHINE
        ]
    )


def test_only_known_libraries(everything: list[Import]) -> None:
    # What pyproject.toml does not name would be missing where it is installed.
    known = sys.stdlib_module_names | LATE | {"bpfilter"}
    complain([found for found in everything if found.library not in known])


def test_heavy_libraries_are_imported_where_used(trees: dict[str, ast.Module]) -> None:
    complain(
        [
            Import(module, line, name)
            for module, tree in trees.items()
            if module not in BULK
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name, line in imports(node)
            if name.split(".")[0] in LATE or name in BULK
        ]
    )


def test_the_walk_sees_imports_inside_functions() -> None:
    code = "def f():\n    from bpfilter.kernel import linux\n    import bpfilter.bpf.spec\n"
    found = [name for name, _ in imports(ast.parse(code))]
    assert found == ["bpfilter.kernel.linux", "bpfilter.bpf.spec"]
    assert [layer(name) for name in found] == ["kernel", "bpf.spec"]
