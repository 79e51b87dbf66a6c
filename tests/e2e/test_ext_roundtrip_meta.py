"""The kernel's iptables is the judge of how matches beside the headers and targets are read.

The tables of spellings hold what it prints, letter for letter, or that it refuses; the
unit tests hold us to them.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
from pyroute2.ipset import IPSet

from bpfilter.rules.model import Family
from tests.harness.legacy import legacy
from tests.harness.netns import Namespace
from tests.unit.ext.placed import FILES, Place, PlacedSpelling, read_placed
from tests.unit.ext.support import V4, V6
from tests.unit.ext.test_chains import cases, text

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
]

SPELLINGS = [spelling for name in FILES for spelling in read_placed(name)]
PLACES = sorted({spelling.place for spelling in SPELLINGS}, key=str)

#: What a listing shows for any source and any destination.
ANYWHERE = {V4: f"{'0.0.0.0/0':20} {'0.0.0.0/0':20}", V6: f"{'::/0':20} {'::/0':20}"}


def at(place: Place, *, accepted: bool) -> list[PlacedSpelling]:
    return [s for s in SPELLINGS if s.place == place and (s.saved is not None) is accepted]


def restore(judge: Namespace, place: Place, rules: list[str]) -> None:
    lines = "\n".join(f"-A {place.chain} {place.words(words)}" for words in rules)
    stdin = f"*{place.table}\n{lines}\nCOMMIT\n"
    judge.run(*legacy(f"{place.family.command}-restore"), stdin=stdin)


@pytest.fixture(scope="module")
def judge() -> Iterator[Namespace]:
    """A namespace with an ipset of each family."""
    with Namespace("roundtrip-meta") as namespace:
        with namespace.entered(), IPSet() as sets:
            for family in Family:
                kind = socket.AF_INET if family is V4 else socket.AF_INET6
                sets.create(f"bpf{family.value}", "hash:ip", kind, counters=True, timeout=100)
        yield namespace


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_printed_as_the_kernel_tool_prints(judge: Namespace, place: Place) -> None:
    spellings = at(place, accepted=True)
    restore(judge, place, [spelling.words for spelling in spellings])
    command = place.family.command
    saving = judge.run(*legacy(f"{command}-save"), "-t", place.table)
    listing = judge.run(*legacy(command), "-t", place.table, "-nvxL", place.chain).splitlines()[2:]
    saved = [line for line in saving.splitlines() if line.startswith(f"-A {place.chain} ")]
    for spelling, line, listed in zip(spellings, saved, listing, strict=True):
        assert line.rstrip() == f"-A {place.chain} {spelling.saved}", spelling
        described = listed.split(ANYWHERE[place.family], 1)[1]
        assert described.strip() == spelling.listed, spelling


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_refused_as_the_kernel_tool_refuses(judge: Namespace, place: Place) -> None:
    for spelling in at(place, accepted=False):
        with pytest.raises(subprocess.CalledProcessError):
            restore(judge, place, [spelling.words])


def test_a_match_without_a_text_is_listed_by_its_name(judge: Namespace) -> None:
    words = "-m comment --comment x -m eui64 -m cpu --cpu 0"
    place = Place("mangle", "FORWARD", V6)
    restore(judge, place, [words])
    listed = judge.run(*legacy("ip6tables"), "-t", "mangle", "-nvxL", "FORWARD").splitlines()[2]
    assert listed.split(ANYWHERE[V6], 1)[1] == " /* x */eui64  cpu 0"
    assert place.listed(words) == "/* x */eui64  cpu 0"


@cases
def test_places_as_the_kernel_has_them(
    judge: Namespace, table: str, rules: str, accepted: bool
) -> None:
    if accepted:
        judge.run(*legacy("iptables-restore"), stdin=text(table, rules))
        return
    with pytest.raises(subprocess.CalledProcessError):
        judge.run(*legacy("iptables-restore"), stdin=text(table, rules))
