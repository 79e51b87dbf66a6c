"""The commands that the documentation shows, run in order in a namespace for each page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.doc_pages import EXAMPLES, PAGES, ROOT, blocks, matches, sessions
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

SHOWN = [page for page in PAGES if sessions(page)]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_commands_print_what_is_shown(page: Path, namespace: Namespace, tmp_path: Path) -> None:
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    command = bin_directory / "bpfilter"
    command.write_text(f"#!{sys.executable}\nfrom bpfilter.cli.main import run\nrun()\n")
    command.chmod(0o755)
    own = {
        "XTABLES_LOCKFILE": str(tmp_path / "lock"),
        "BPFILTER_CONF": str(tmp_path / "bpfilter.conf"),
    }
    rules = tmp_path / "rules"
    shutil.copytree(EXAMPLES, rules)
    environment = {**os.environ, **own, "PATH": f"{bin_directory}:{os.environ['PATH']}"}
    for session in sessions(page):
        done = subprocess.run(
            ["nsenter", f"--net={namespace.path}", "bash", "-c", session.command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=rules,
            env=environment,
        )
        lines = done.stdout.splitlines(keepends=True)
        # Namespaces of others, whose tests were killed, are told by `status` as well.
        printed = "".join(line for line in lines if "'bpfilter clear --stale'" not in line)
        assert matches(session.output, printed), (
            f"{session.command}\nprinted\n{printed}\nand the page says\n{session.output}"
        )


def test_python_snippets_run(namespace: Namespace) -> None:
    names: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "python-api.md", "python"):
        code = block.replace('netns="lab"', f"netns={str(namespace.path)!r}")
        exec(compile(code, "python-api.md", "exec"), names)
