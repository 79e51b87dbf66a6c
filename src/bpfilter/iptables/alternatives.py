"""Debian's alternatives: which of several programs the name `iptables` is.

    /usr/sbin/iptables → /etc/alternatives/iptables → /usr/sbin/iptables-nft
    its slaves go along: iptables-save, iptables-restore

The package iptables has a group for each family (its postinst), legacy with priority 10 and
nft with 20.
"""

from __future__ import annotations

from pathlib import Path

from bpfilter.dataclass import dataclass
from bpfilter.errors import Error

_PROGRAM = "update-alternatives"


class AlternativesError(Error):
    """update-alternatives did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Group:
    """A name; `status` is auto or manual, `value` the program it is now.

    `slaves` are names and links of what goes along, `choices` programs and their priorities.
    """

    link: str
    status: str
    value: str
    slaves: dict[str, str]
    choices: dict[str, int]


class Alternatives:
    """The alternatives of a machine, or of a tree that is to be one (`root`)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_there(self) -> bool:
        """Say whether they are as Debian has them; other tools of this name lack --query."""
        directory = self.root / "var/lib/dpkg/alternatives"
        if not directory.is_dir():
            return False
        try:
            return self._run("--version")[0] == 0
        except AlternativesError:
            return False

    def query(self, name: str) -> Group | None:
        """Give a group, None if there is none."""
        status, output = self._run("--query", name)
        return _parsed(output) if status == 0 else None

    def install(
        self, link: str, name: str, path: str, priority: int, slaves: dict[str, tuple[str, str]]
    ) -> None:
        """Make a program one of the choices; `slaves` are names, with link and path."""
        words = ["--install", link, name, path, str(priority)]
        for slave, places in slaves.items():
            words += ["--slave", places[0], slave, places[1]]
        self._check(*words)

    def select(self, name: str, path: str) -> None:
        self._check("--set", name, path)

    def automatic(self, name: str) -> None:
        self._check("--auto", name)

    def remove(self, name: str, path: str) -> None:
        self._check("--remove", name, path)

    def _check(self, *words: str) -> None:
        status, output = self._run(*words)
        if status != 0:
            raise AlternativesError(f"{_PROGRAM} {' '.join(words)}: {output.strip()}")

    def _run(self, *words: str) -> tuple[int, str]:
        import os
        import subprocess

        where = [] if str(self.root) == "/" else ["--root", str(self.root)]
        try:
            done = subprocess.run(
                [_PROGRAM, "--quiet", *where, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise AlternativesError(f"{_PROGRAM}: {error.strerror}") from error
        return done.returncode, done.stdout


# Blocks with an empty line between, the first of them about the name itself.
def _parsed(text: str) -> Group:
    head, *others = text.strip("\n").split("\n\n")
    about = _fields(head)
    slaves = (line.split() for line in about.get("Slaves", "").split("\n") if line.strip())
    choices = map(_fields, others)
    return Group(
        about["Link"],
        about["Status"],
        about.get("Value", "none"),
        {words[0]: words[1] for words in slaves},
        {each["Alternative"]: int(each["Priority"]) for each in choices},
    )


def _fields(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in block.split("\n"):
        if line.startswith(" "):
            found[name] += f"\n{line[1:]}"
        else:
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return found
