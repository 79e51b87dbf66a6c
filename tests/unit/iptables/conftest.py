"""A tree as Debian's with the package iptables, and our scripts, for `install --root`."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = "/opt/bpfilter/bin"
FAMILIES = ("iptables", "ip6tables")
VERBS = ("", "-restore", "-save")
PRIORITIES = {"legacy": 10, "nft": 20}


@dataclass
class Tree:
    root: Path

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def make(self, path: str, text: str = "") -> None:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_text(text)
        self.at(path).chmod(0o755)

    def alternatives(self, *words: str) -> str:
        return subprocess.run(
            ["update-alternatives", "--root", str(self.root), *words],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        ).stdout

    def has_iptables(self, *kinds: str) -> None:
        """Install Debian's iptables, as its postinst does."""
        for family in FAMILIES:
            for kind in kinds or PRIORITIES:
                for verb in VERBS:
                    self.make(f"/usr/sbin/{family}-{kind}{verb}", "#!/bin/sh\n")
                words = ["--install", f"/usr/sbin/{family}", family, f"/usr/sbin/{family}-{kind}"]
                words.append(str(PRIORITIES[kind]))
                for verb in VERBS[1:]:
                    words += ["--slave", f"/usr/sbin/{family}{verb}", f"{family}{verb}"]
                    words.append(f"/usr/sbin/{family}-{kind}{verb}")
                self.alternatives(*words)

    def selected(self, name: str) -> tuple[str, str]:
        """Give mode and program of a name."""
        lines = self.alternatives("--query", name).split("\n\n")[0].splitlines()
        about = dict(line.split(": ", 1) for line in lines if ": " in line)
        return about["Status"], about["Value"].rpartition("/")[2]

    def links(self) -> dict[str, str]:
        """Give where every link leads, and what is in every file."""
        found = {}
        for directory, _, names in os.walk(self.root):
            for name in names:
                path = Path(directory, name)
                if "alternatives.log" in name:
                    continue
                place = str(path.relative_to(self.root))
                found[place] = os.readlink(path) if path.is_symlink() else path.read_text()
        return found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    if shutil.which("update-alternatives") is None:
        pytest.skip("update-alternatives is not installed")
    made = Tree(tmp_path / "root")
    for directory in ("etc/alternatives", "var/lib/dpkg/alternatives", "var/log", "usr/sbin"):
        made.at(directory).mkdir(parents=True)
    for family in FAMILIES:
        for verb in VERBS:
            made.make(f"{SCRIPTS}/{family}-bpf{verb}", "#!/bin/sh\n")
    made.make(f"{SCRIPTS}/bpfilter", "#!/bin/sh\n")
    made.make("/usr/lib/systemd/systemd")
    return made
