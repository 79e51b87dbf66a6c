"""Reading, saving and listing give what iptables-legacy gave for the golden rulesets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bpfilter.rules.listing import list_rules, list_table
from bpfilter.rules.model import Family, Ruleset, Table
from bpfilter.rules.saved import format_saved, parse_saved
from bpfilter.rules.written import write_table

CASES = sorted((Path(__file__).parents[2] / "golden" / "saved").glob("*.in*"))


def read(case: Path) -> Ruleset:
    family = Family.IPV6 if case.suffix == ".in6" else Family.IPV4
    return parse_saved(case.read_bytes(), case.name, family)


def each(ruleset: Ruleset, view: Callable[..., str], **options: bool) -> str:
    return "".join(view(table, ruleset.family, **options) for table in ruleset.tables)


def listed_rules(table: Table, family: Family) -> str:
    return list_rules(write_table(table, family, counters=True), counters=True)


@pytest.fixture(params=CASES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_there_are_cases() -> None:
    assert len(CASES) >= 3


def test_saved(case: Path) -> None:
    assert format_saved(read(case), counters=True) == case.with_suffix(".save").read_text()


def test_rules(case: Path) -> None:
    expected = case.with_suffix(".rules").read_text()
    assert each(read(case), listed_rules) == expected


def test_list(case: Path) -> None:
    expected = case.with_suffix(".list").read_text()
    assert each(read(case), list_table, exact=True) == expected


def test_list_with_units(case: Path) -> None:
    assert each(read(case), list_table) == case.with_suffix(".human").read_text()


def test_short_list(case: Path) -> None:
    expected = case.with_suffix(".short").read_text()
    assert each(read(case), list_table, verbose=False, line_numbers=True) == expected


def test_what_was_saved_reads_the_same(case: Path) -> None:
    ruleset = read(case)
    again = parse_saved(format_saved(ruleset, counters=True), "again", ruleset.family)
    assert format_saved(again, counters=True) == format_saved(ruleset, counters=True)
