"""Every match and target is read, written and refused as the tables say iptables does."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from bpfilter import ext
from bpfilter.errors import SourceError
from bpfilter.rules.model import Family
from bpfilter.rules.registry import REGISTRY
from tests.unit.ext.tables import FOLDER, Case, read_tables

ext.load_all()
CASES = read_tables()
TAKEN = [case for case in CASES if case.saved is not None]
REFUSED = [case for case in CASES if case.saved is None]


def classes() -> list[tuple[str, Family, Any]]:
    """Give every registered name, with `-m` or `-j` before it, and its class in each family."""
    found = [(f"-m {name}", family, cls) for (name, family), cls in REGISTRY.matches.items()]
    found += [(f"-j {name}", family, cls) for (name, family), cls in REGISTRY.targets.items()]
    return sorted(found, key=lambda each: (each[0], each[1]))


@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_written_as_iptables_saves(case: Case) -> None:
    assert case.saved is not None
    assert case.place.saved(case.words) == case.place.words(case.saved)
    if case.listed:
        assert case.place.listed(case.words).rstrip("\0") == case.place.words(case.listed)


# What -C and -D rely on.
@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_what_is_saved_is_the_same_rule(case: Case) -> None:
    assert case.saved is not None
    rule = case.place.parse(case.words)
    try:
        same = case.place.parse(case.saved) == rule
    except SourceError:
        same = False
    assert same is not bool(case.unreadable)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused_with_a_place(case: Case) -> None:
    with pytest.raises(SourceError) as caught:
        case.place.parse(case.words)
    assert caught.value.span is not None


def test_every_module_has_a_table() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(ext.MODULES)


@pytest.mark.parametrize(("name", "family", "cls"), classes(), ids=str)
def test_every_option_is_used(name: str, family: Family, cls: Any) -> None:
    lines = [f"{case.words} {case.saved}" for case in TAKEN if case.place.family is family]
    lines = [line for line in lines if f"{name} " in f"{line} "]
    assert lines
    used = {word for line in lines for word in shlex.split(line)}
    for option in cls.OPTIONS:
        assert {option.name, *option.aliases} <= used
