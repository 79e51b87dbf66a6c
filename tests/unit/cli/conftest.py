"""Commands run in this process, against a firewall that remembers what it was told."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bpfilter import Family, Ruleset, Table
from bpfilter.cli.main import main
from bpfilter.errors import Error
from bpfilter.firewall.delegated import Delegated
from bpfilter.firewall.enforce import Verified
from bpfilter.firewall.generation import Generation, LoadedProgram
from bpfilter.firewall.given import GivenText
from bpfilter.firewall.status import FamilyStatus, HookStatus, Status
from bpfilter.rules.listing import Form, list_table
from bpfilter.rules.model import Hook
from bpfilter.rules.saved import parse_saved
from bpfilter.rules.written import Written, write_table

RULES = """\
*filter
:INPUT DROP [7:700]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [1:60]
:ssh - [0:0]
[3:180] -A INPUT -p tcp -m tcp --dport 22 -j ssh
[2:120] -A ssh -s 192.0.2.0/24 -j ACCEPT
COMMIT
"""
RULES6 = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
[4:256] -A INPUT -s 2001:db8::/32 -j DROP
COMMIT
"""


@dataclass
class Outcome:
    status: int
    out: str
    err: str


def values(saved: GivenText | Ruleset) -> Ruleset:
    """Give what was to be put in force as values."""
    if isinstance(saved, Ruleset):
        return saved
    return parse_saved(saved.text, saved.name, saved.family)


@dataclass
class FakeFirewall:
    """What `Firewall(…)` gives in these tests: one object, `calls` in order."""

    tables: dict[Family, Table] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    error: Error | None = None
    warned: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    kernels: dict[Family, Delegated] = field(default_factory=dict)
    directory: Path = Path()
    #: How progress is told.
    told: Callable[[Callable[[str], None]], None] = lambda progress: progress("compiling")

    def _call(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def apply(
        self,
        saved: GivenText | Ruleset,
        *,
        source: str = "",
        counters: bool = False,
        progress: Callable[[str], None] = print,
        otherwise: Mapping[str, str] | None = None,
    ) -> Generation:
        if progress is not print:
            self.told(progress)
        ruleset = values(saved)
        self._call("apply", ruleset, source, counters)
        table = ruleset.table("filter")
        assert table is not None
        self.tables[ruleset.family] = table
        return self.generation(ruleset.family)

    def verify(
        self, saved: GivenText | Ruleset, *, progress: Callable[[str], None] = print
    ) -> Verified:
        if progress is not print:
            self.told(progress)
        self._call("verify", values(saved))
        return Verified(saved.family, 2, 9, (("INPUT", 100, 400), ("OUTPUT", 90, 380)), 0.012)

    def table(self, family: Family) -> Table | None:
        self._call("table", family)
        return self.tables.get(family)

    def written(self, family: Family, *, counters: bool = False) -> list[Written] | None:
        table = self.table(family)
        return None if table is None else write_table(table, family, counters)

    def listed(
        self, family: Family, form: Form, chain: str | None = None, number: int = 0
    ) -> str | None:
        table = self.table(family)
        return None if table is None else list_table(table, family, chain, number, form=form)

    def zero(self, family: Family) -> None:
        self._call("zero", family)

    def clear(self, family: Family) -> bool:
        self._call("clear", family)
        return self.tables.pop(family, None) is not None

    def clear_stale(self) -> tuple[str, ...]:
        self._call("clear_stale")
        return ("4026532001", "4026532002")

    def delegated(self, family: Family) -> Delegated | None:
        return self.kernels.get(family)

    def warnings(self, family: Family) -> tuple[str, ...]:
        return self.warned

    def state_directory(self) -> Path:
        return self.directory

    def generation(self, family: Family) -> Generation:
        return Generation(
            family=family,
            slot=1,
            source="rules.v4",
            policies={"INPUT": "DROP", "FORWARD": "ACCEPT", "OUTPUT": "ACCEPT"},
            seed=False,
            applied_at=1_700_000_000.0,
            load_s=0.025,
            rules=2,
            ordered=False,
            traced=False,
            canonical=True,
            cells=9,
            words=3,
            counters_per_cpu=8,
            cpus=2,
            needs_conntrack=True,
            lineage="0123456789abcdef",
            free=(),
            unused=8,
            programs=(LoadedProgram("INPUT", 11, 100, 800, 400, 1000),),
        )

    def status(self) -> Status:
        self._call("status")
        families = []
        for family in Family:
            in_force = family in self.tables
            hooks = (HookStatus(Hook.INPUT, -1, 5, 10),) if in_force else ()
            generation = self.generation(family) if in_force else None
            problems = self.problems if in_force else ()
            families.append(
                FamilyStatus(
                    family, generation, hooks, 0, False, problems, self.kernels.get(family)
                )
            )
        return Status("4026531840", "/run/bpfilter/bpf/4026531840", tuple(families))


@pytest.fixture
def firewall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeFirewall:
    fake = FakeFirewall(directory=tmp_path)

    def make(netns: str | None = None, *, wait_s: float = 10.0) -> FakeFirewall:
        fake.calls.append(("Firewall", netns, wait_s))
        return fake

    monkeypatch.setattr("bpfilter.firewall.live.Firewall", make)
    return fake


@pytest.fixture
def in_force(firewall: FakeFirewall) -> FakeFirewall:
    """Have RULES and RULES6 in force."""
    for family, text in ((Family.IPV4, RULES), (Family.IPV6, RULES6)):
        table = parse_saved(text, "rules", family).table("filter")
        assert table is not None
        firewall.tables[family] = table
    return firewall


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run a command line; a traceback fails the test, as nothing is raised through `main`."""

    def invoke(*words: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        status = main(words)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return invoke


@pytest.fixture
def rules_file(tmp_path: Path) -> str:
    path = tmp_path / "rules.v4"
    path.write_text(RULES)
    return str(path)
