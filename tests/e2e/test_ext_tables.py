"""The installed iptables is the judge of the tables of tests/data/extensions.

Rules are added, saved, looked for and deleted by iptables-restore, a table's at once. Some
cannot be judged: the kernel lacks the match, or the table says why. These are named, and a
module with nothing else is skipped. JUDGE runs another iptables, as `env KEEPNET=1 in1811`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest
from pyroute2.ipset import IPSet

from bpfilter.ext import MODULES
from bpfilter.rules.model import Family
from tests.harness.netns import Namespace
from tests.unit.ext.placed import Place
from tests.unit.ext.support import V4
from tests.unit.ext.tables import Case, read_table

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
    pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="needs iptables-legacy"),
]

JUDGE = os.environ.get("JUDGE", "").split()
MISSING = re.compile(r"Extension (\S+) revision \d+ not supported, missing kernel module")
#: Of each module, how many rules could not be judged, and why.
UNJUDGED: dict[str, Counter[str]] = {}


def version() -> tuple[int, ...]:
    done = subprocess.run(
        [*JUDGE, "iptables-legacy", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"v([0-9.]+)", done.stdout)
    assert found is not None
    return tuple(map(int, found[1].split(".")))


@pytest.fixture(scope="module")
def judge() -> Iterator[Namespace]:
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


def restore(judge: Namespace, place: Place, letter: str, rules: list[str]) -> str:
    """Give commands to iptables-restore; gives what it complains of, and "" if it took them."""
    lines = "".join(f"-{letter} {place.chain} {rule}\n" for rule in rules)
    try:
        judge.run(
            *JUDGE,
            f"{place.family.command}-legacy-restore",
            "--noflush",
            stdin=f"*{place.table}\n{lines}COMMIT\n",
        )
    except subprocess.CalledProcessError as error:
        return str(error.stderr) or "refused"
    return ""


def flush(judge: Namespace, place: Place) -> None:
    judge.run(*JUDGE, f"{place.family.command}-legacy", "-t", place.table, "-F")


def saved(judge: Namespace, place: Place) -> list[str]:
    command = f"{place.family.command}-legacy"
    text = judge.run(*JUDGE, command, "-t", place.table, "-S", place.chain)
    start = f"-A {place.chain} "
    return [
        line.removeprefix(start).rstrip() for line in text.splitlines() if line.startswith(start)
    ]


# Those that the judge can be asked of; of the others the reason is kept.
def asked(judge: Namespace, cases: list[Case], reasons: Counter[str]) -> list[Case]:
    found = []
    for case in cases:
        if case.unasked or (case.older and version() < (1, 8, 11)):
            reasons[case.unasked or case.older] += 1
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


def check(judge: Namespace, place: Place, cases: list[Case]) -> None:
    taken = [case for case in cases if case.saved is not None]
    printed = [place.words(case.saved or "") for case in taken]
    assert saved(judge, place) == printed
    for case in cases:
        if case.saved is None:
            assert restore(judge, place, "A", [words(case)]), case
    again = [
        words(case) if case.unreadable or case.lost else line
        for case, line in zip(taken, printed, strict=True)
    ]
    for letter in "CD":
        error = restore(judge, place, letter, again)
        assert not error, error
    assert saved(judge, place) == []


@pytest.mark.parametrize("module", MODULES)
def test_tables_are_what_iptables_does(judge: Namespace, module: str) -> None:
    cases = read_table(module)
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
