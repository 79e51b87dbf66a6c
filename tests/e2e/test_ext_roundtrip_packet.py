"""The kernel's iptables is the judge of how matches on packet headers are read and printed."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from bpfilter.rules.model import Family
from bpfilter.rules.options import format_rule
from tests.harness.legacy import legacy
from tests.harness.netns import Namespace
from tests.unit.ext.support import V4, V6, Spelling, parse, read_spellings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
]

FAMILIES = (V4, V6)
SPELLINGS = read_spellings("packet_spellings.txt")

#: What a listing shows for any source and any destination.
ANYWHERE = {V4: f"{'0.0.0.0/0':20} {'0.0.0.0/0':20}", V6: f"{'::/0':20} {'::/0':20}"}


def of(family: Family, *, accepted: bool) -> list[Spelling]:
    return [s for s in SPELLINGS if s.family is family and s.accepted is accepted]


@pytest.fixture(scope="module")
def judge() -> Iterator[Namespace]:
    """A namespace whose INPUT chains have every accepted spelling."""
    with Namespace("roundtrip") as namespace:
        for family in FAMILIES:
            rules = "\n".join(f"-A INPUT {s.words}" for s in of(family, accepted=True))
            command = legacy(f"{family.command}-restore")
            namespace.run(*command, stdin=f"*filter\n{rules}\nCOMMIT\n")
        yield namespace


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_saved_as_the_kernel_tool_saves(judge: Namespace, family: Family) -> None:
    text = judge.run(*legacy(f"{family.command}-save"), "-t", "filter")
    theirs = [line.rstrip() for line in text.splitlines() if line.startswith("-A")]
    for spelling, line in zip(of(family, accepted=True), theirs, strict=True):
        assert format_rule(parse(spelling.words, family), "INPUT", family) == line, spelling
        again = parse(line.removeprefix("-A INPUT "), family)
        assert format_rule(again, "INPUT", family) == line, spelling


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_listed_as_the_kernel_tool_lists(judge: Namespace, family: Family) -> None:
    theirs = judge.run(*legacy(family.command), "-nvxL", "INPUT").splitlines()[2:]
    for spelling, line in zip(of(family, accepted=True), theirs, strict=True):
        matches = parse(spelling.words, family).matches
        ours = "".join(f" {match.describe(family)}" for match in matches)
        assert line.split(ANYWHERE[family], 1)[1] == ours, spelling


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_refused_as_the_kernel_tool_refuses(judge: Namespace, family: Family) -> None:
    for spelling in of(family, accepted=False):
        with pytest.raises(subprocess.CalledProcessError):
            judge.run(*legacy(family.command), "-A", "OUTPUT", *shlex.split(spelling.words))
