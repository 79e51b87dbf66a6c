"""The kernel's iptables is the judge of how matches on packet headers are read and printed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from bpfilter.rules.model import Family
from bpfilter.rules.options import format_rule
from tests.unit.ext.support import V4, V6, Spelling, parse, read_spellings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
    pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="needs iptables-legacy"),
]

FAMILIES = (V4, V6)
SPELLINGS = read_spellings("packet_spellings.txt")

#: What a listing shows for any source and any destination.
ANYWHERE = {V4: f"{'0.0.0.0/0':20} {'0.0.0.0/0':20}", V6: f"{'::/0':20} {'::/0':20}"}

Judge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Run a command of iptables-legacy (its suffix and words) in a namespace of its own."""
    name = f"bpft-roundtrip-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)

    def run(
        family: Family, suffix: str, *words: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = f"{family.command}-legacy{suffix}"
        return subprocess.run(
            ["ip", "netns", "exec", name, command, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        yield run
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def of(family: Family, *, accepted: bool) -> list[Spelling]:
    return [s for s in SPELLINGS if s.family is family and s.accepted is accepted]


@pytest.fixture(scope="module")
def restored(judge: Judge) -> Judge:
    """The judge with every accepted spelling in its INPUT chains."""
    for family in FAMILIES:
        rules = "\n".join(f"-A INPUT {spelling.words}" for spelling in of(family, accepted=True))
        done = judge(family, "-restore", stdin=f"*filter\n{rules}\nCOMMIT\n")
        assert done.returncode == 0, done.stderr
    return judge


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_saved_as_the_kernel_tool_saves(restored: Judge, family: Family) -> None:
    text = restored(family, "-save", "-t", "filter").stdout
    theirs = [line.rstrip() for line in text.splitlines() if line.startswith("-A")]
    for spelling, line in zip(of(family, accepted=True), theirs, strict=True):
        assert format_rule(parse(spelling.words, family), "INPUT", family) == line, spelling
        again = parse(line.removeprefix("-A INPUT "), family)
        assert format_rule(again, "INPUT", family) == line, spelling


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_listed_as_the_kernel_tool_lists(restored: Judge, family: Family) -> None:
    theirs = restored(family, "", "-nvxL", "INPUT").stdout.splitlines()[2:]
    for spelling, line in zip(of(family, accepted=True), theirs, strict=True):
        matches = parse(spelling.words, family).matches
        ours = "".join(f" {match.describe(family)}" for match in matches)
        assert line.split(ANYWHERE[family], 1)[1] == ours, spelling


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_refused_as_the_kernel_tool_refuses(judge: Judge, family: Family) -> None:
    for spelling in of(family, accepted=False):
        done = judge(family, "", "-A", "OUTPUT", *shlex.split(spelling.words))
        assert done.returncode != 0, spelling
