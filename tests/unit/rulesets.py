"""The real rulesets that lie beside the project, as test parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfilter.rules.model import TABLES, Family

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT.parent / "shared" / "rulesets"


@dataclass(frozen=True)
class RealRuleset:
    path: Path

    @property
    def family(self) -> Family:
        name = self.path.name
        return Family.IPV6 if "ip6" in name or name.endswith(".v6") else Family.IPV4

    def __str__(self) -> str:
        return self.path.name


def rulesets() -> list[object]:
    """Give one parameter for each file; one that skips with the reason if there are none."""
    found = sorted((*DIRECTORY.glob("*.rules"), *DIRECTORY.glob("real/*.v[46]")))
    if not found:
        reason = "there is no ../shared/rulesets beside the project"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [RealRuleset(path) for path in found]


def tables_of(ruleset: object) -> Iterator[tuple[Family, str, set[str], list[str]]]:
    """Give each table's family, name, chains and `-A` lines."""
    assert isinstance(ruleset, RealRuleset)
    table, chains, lines = "", set[str](), list[str]()
    for line in ruleset.path.read_text("utf-8", "surrogateescape").split("\n"):
        if line[:1] == "*":
            table = line[1:].strip()
            chains, lines = set(TABLES[table]), []
        elif line[:1] == ":":
            chains.add(line[1:].split()[0])
        elif line.startswith("-A"):
            lines.append(line)
        elif line.strip() == "COMMIT":
            yield ruleset.family, table, chains, lines
