"""iptables is the judge of the tables of tests/data/extensions; iptables-bpf does the same.

Rules are added, saved, looked for and deleted by iptables-restore, a table's at once. Some
cannot be judged: the kernel lacks the match, or the table says why. These are named, and a
module with nothing else is skipped. What eBPF cannot enforce, iptables-bpf lets iptables have.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyroute2.ipset import IPSet

from bpfilter import Firewall
from bpfilter.ext import MODULES
from bpfilter.rules.model import Family
from tests.harness.legacy import legacy
from tests.harness.netns import Namespace
from tests.unit.ext.placed import Place
from tests.unit.ext.support import V4
from tests.unit.ext.tables import Case, read_table

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
]

MISSING = re.compile(r"Extension (\S+) revision \d+ not supported, missing kernel module")
#: Of each module, how many rules could not be judged, and why.
UNJUDGED: dict[str, Counter[str]] = {}


@dataclass(frozen=True)
class Judge:
    """A namespace, and who is asked in it: gives the words that run a command by its name."""

    namespace: Namespace
    words: Callable[[str], tuple[str, ...]]

    def run(self, name: str, *words: str, stdin: str | None = None) -> str:
        return self.namespace.run(*self.words(name), *words, stdin=stdin)


#: A program by the name that comes first of its words.
OURS = "import sys; from bpfilter.iptables.program import run; sys.argv = sys.argv[1:]; run()"


def shims(directory: Path) -> None:
    """Put the judge's programs there under the names that iptables-bpf looks for."""
    for family in Family:
        for verb in ("", "-save", "-restore"):
            path = directory / f"{family.command}-legacy{verb}"
            command = shlex.join(legacy(f"{family.command}{verb}"))
            path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            path.chmod(0o755)


@pytest.fixture(scope="module")
def judge(namespace: Namespace) -> Judge:
    return Judge(namespace, legacy)


@pytest.fixture(scope="module")
def ours(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """iptables-bpf, whose kernel's own tool is the judge's."""
    directory = tmp_path_factory.mktemp("bin")
    shims(directory)
    (directory / "bpfilter.conf").write_text("kernel-tool = legacy\n")
    settings = (
        "env",
        f"PATH={directory}:{os.environ['PATH']}",
        f"BPFILTER_CONF={directory / 'bpfilter.conf'}",
        f"XTABLES_LOCKFILE={directory / 'lock'}",
    )
    yield Judge(namespace, lambda name: (*settings, sys.executable, "-c", OURS, name))
    firewall = Firewall(str(namespace.path))
    for family in Family:
        firewall.clear(family)
        firewall.mark(family, None)


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A namespace with an ipset of each family, and the accounting objects the tables name."""
    with Namespace("ext-tables") as namespace:
        with namespace.entered(), IPSet() as sets:
            for family in Family:
                kind = socket.AF_INET if family is V4 else socket.AF_INET6
                sets.create(f"bpf{family.value}", "hash:ip", kind, counters=True, timeout=100)
            for name in (b"plain_name", b"with blank"):
                make_accounting_object(name)
        yield namespace


def make_accounting_object(name: bytes) -> None:
    """As `nfacct add NAME`: NFNL_MSG_ACCT_NEW with NFACCT_NAME."""
    attribute = struct.pack("HH", 4 + len(name) + 1, 1) + name + b"\0"
    body = struct.pack("BBH", 0, 0, 0) + attribute + bytes(-len(attribute) % 4)
    flags = 0x405  # NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
        netfilter.send(struct.pack("IHHII", 16 + len(body), 7 << 8, flags, 1, 0) + body)
        (error,) = struct.unpack_from("i", netfilter.recv(1024), 16)
    assert error in (0, -2)  # ENOENT: a kernel without them, which the tables' rules will tell


def restore(judge: Judge, place: Place, letter: str, rules: list[str]) -> str:
    """Give commands to iptables-restore; gives what it complains of, and "" if it took them."""
    lines = "".join(f"-{letter} {place.chain} {rule}\n" for rule in rules)
    try:
        judge.run(
            f"{place.family.command}-restore",
            "--noflush",
            stdin=f"*{place.table}\n{lines}COMMIT\n",
        )
    except subprocess.CalledProcessError as error:
        return str(error.stderr) or "refused"
    return ""


def flush(judge: Judge, place: Place) -> None:
    judge.run(place.family.command, "-t", place.table, "-F")


def saved(judge: Judge, place: Place) -> list[str]:
    text = judge.run(place.family.command, "-t", place.table, "-S", place.chain)
    start = f"-A {place.chain} "
    return [
        line.removeprefix(start).rstrip() for line in text.splitlines() if line.startswith(start)
    ]


# Those that the judge can be asked of; of the others the reason is kept.
def asked(judge: Judge, cases: list[Case], reasons: Counter[str]) -> list[Case]:
    found = []
    for case in cases:
        if case.unasked:
            reasons[case.unasked] += 1
            continue
        found.append(case)
    taken = [case for case in found if case.saved is not None]
    if not taken or not restore(judge, taken[0].place, "A", [words(case) for case in taken]):
        return found
    for case in taken:
        missing = MISSING.search(restore(judge, case.place, "A", [words(case)]))
        if missing is not None:
            reasons[f"this kernel has no {missing[1]}"] += 1
            found.remove(case)
    flush(judge, taken[0].place)
    error = restore(judge, taken[0].place, "A", [words(case) for case in found if case.saved])
    assert not error, error
    return found


def words(case: Case) -> str:
    return case.place.words(case.words)


# Rules that iptables does not find again by what it prints, it does if they came from that.
def check(judge: Judge, place: Place, cases: list[Case], *, by_text: bool = False) -> None:
    taken = [case for case in cases if case.saved is not None]
    printed = [place.words(case.saved or "") for case in taken]
    assert saved(judge, place) == printed
    for case in cases:
        if case.saved is None:
            assert restore(judge, place, "A", [words(case)]), case
    again = [
        words(case) if case.unreadable or (case.lost and not by_text) else line
        for case, line in zip(taken, printed, strict=True)
    ]
    for letter in "CD":
        error = restore(judge, place, letter, again)
        assert not error, error
    assert saved(judge, place) == []


@pytest.mark.parametrize("module", MODULES)
def test_tables_are_what_iptables_does(judge: Judge, module: str) -> None:
    compare(judge, module, read_table(module))


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_iptables_bpf_does_it_all(judge: Judge, ours: Judge, module: str) -> None:
    cases = [case for case in read_table(module) if case.place.table == "filter"]
    reasons: Counter[str] = Counter()
    for place in sorted({case.place for case in cases}, key=str):
        here = asked(judge, [case for case in cases if case.place == place], reasons)
        flush(judge, place)
        flush(ours, place)
        for case in here:
            if case.saved is None:
                assert restore(ours, place, "A", [words(case)]), case
        # What cannot be read as it is saved, we cannot keep.
        taken = [case for case in here if case.saved is not None and not case.unreadable]
        error = restore(ours, place, "A", [words(case) for case in taken])
        assert not error, error
        check(ours, place, taken, by_text=True)
        flush(ours, place)


def compare(judge: Judge, module: str, cases: list[Case]) -> None:
    reasons = UNJUDGED.setdefault(module, Counter())
    judged = 0
    for place in sorted({case.place for case in cases}, key=str):
        flush(judge, place)
        here = asked(judge, [case for case in cases if case.place == place], reasons)
        check(judge, place, here)
        judged += sum(case.saved is not None for case in here)
    if not judged:
        pytest.skip(f"{module}: {'; '.join(sorted(reasons))}")


def test_what_was_not_judged_is_named() -> None:
    named = [
        f"{module}: {reason} ({count})"
        for module, reasons in UNJUDGED.items()
        for reason, count in sorted(reasons.items())
    ]
    if named:
        total = sum(reasons.total() for reasons in UNJUDGED.values())
        pytest.skip(f"{total} rules were not judged: {'; '.join(named)}")
