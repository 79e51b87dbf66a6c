"""Man pages and completions: as the parsers are now, and such that their readers take them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from bpfilter.cli.main import COMMANDS, command_parser
from bpfilter.cli.usage import options
from bpfilter.iptables.config import _VALUES

ROOT = Path(__file__).parents[3]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_disk(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in directory.iterdir()}


def test_man_pages_are_current() -> None:
    generator = script("gen_man")
    pages = on_disk(ROOT / "docs" / "man")
    generated = {name: text for name, text in pages.items() if generator.BY_US in text}
    assert set(pages) - set(generated) == {"iptables-bpf.8"}
    assert generated == generator.pages(), "run PYTHONPATH=src python3 scripts/gen_man.py"


def test_completions_are_current() -> None:
    assert on_disk(ROOT / "completions") == script("gen_completions").files(), (
        "run PYTHONPATH=src python3 scripts/gen_completions.py"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "man" / f"bpfilter-{name}.8").read_text("utf-8")
    for action in options(command_parser(name)):
        for spelling in action.option_strings:
            assert f"Fl {spelling[1:]}".replace("-", "\\-") in page
        assert action.help


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_man_pages_format_without_complaint() -> None:
    pages = sorted((ROOT / "docs").glob("man*/*.[58]"))
    assert len(pages) == len(COMMANDS) + 3
    for page in pages:
        command = ["groff", "-mdoc", "-Tutf8", "-ww", "-z", str(page)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert not done.stderr


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "man5" / "bpfilter.conf.5").read_text("utf-8")
    for name, values in _VALUES.items():
        assert f".It Cm {name}".replace("-", "\\-") in page
        for value in values:
            assert f".It Cm {value}" in page


def complete(*words: str) -> list[str]:
    """Have bash complete the last of the words."""
    quoted = " ".join(f"'{word}'" for word in ("bpfilter", *words))
    code = (
        f"source {ROOT}/completions/bpfilter.bash; COMP_WORDS=({quoted}); "
        f'COMP_CWORD={len(words)}; _bpfilter; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-u", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not done.stderr
    return sorted(filter(None, done.stdout.split("\n")))


def test_bash_completes_commands_and_options() -> None:
    assert set(COMMANDS) < set(complete(""))
    assert complete("l") == ["list"]
    assert complete("--v") == ["--version"]
    assert complete("apply", "--d") == ["--dry-run"]
    assert complete("list", "--j") == ["--json"]
    assert complete("frobnicate", "") == []


def test_bash_completes_arguments() -> None:
    assert complete("list", "F") == ["FORWARD"]
    assert complete("check", "--state", "re") == ["related"]
    assert complete("check", "--in", "l") == ["lo"]
    assert complete("apply", "demo/rulesets/office") == [
        "demo/rulesets/office.v4",
        "demo/rulesets/office.v6",
    ]
    assert complete("apply", "--confirm", "") == []


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_completions() -> None:
    subprocess.run(["zsh", "-n", str(ROOT / "completions" / "_bpfilter")], check=True)
