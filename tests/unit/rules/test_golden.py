"""Reading, saving and listing give what iptables-legacy gave for the golden rulesets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfilter.firewall import names
from bpfilter.firewall.names import MachineNames
from bpfilter.rules import netdb
from bpfilter.rules.listing import Form, list_rules, list_table
from bpfilter.rules.model import Family, Ruleset, Table
from bpfilter.rules.saved import format_saved, parse_saved
from bpfilter.rules.written import write_table

GOLDEN = Path(__file__).parents[2] / "golden" / "saved"
CASES = sorted(GOLDEN.glob("*.in*"))

HOSTS = {"127.0.0.1": "localhost", "::1": "localhost", "ff02::1": "ip6-allnodes"}


def read(case: Path) -> Ruleset:
    family = Family.IPV6 if case.suffix == ".in6" else Family.IPV4
    return parse_saved(case.read_bytes(), case.name, family)


def each(ruleset: Ruleset, view: Callable[..., str], **options: Form) -> str:
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
    assert each(read(case), list_table, form=Form(exact=True)) == expected


def test_list_with_units(case: Path) -> None:
    assert each(read(case), list_table, form=Form()) == case.with_suffix(".human").read_text()


def test_short_list(case: Path) -> None:
    expected = case.with_suffix(".short").read_text()
    assert each(read(case), list_table, form=Form(verbose=False, line_numbers=True)) == expected


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineNames]:
    """Names as on a fresh Debian whose name server does not answer."""

    def getnameinfo(address: tuple[str, int], flags: int) -> tuple[str, str]:
        if address[0] not in HOSTS:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return HOSTS[address[0]], "0"

    def getservbyport(port: int, protocol: str) -> str:
        for name in netdb.service_names():
            if netdb.service_port(name, protocol) == port:
                return name
        raise OSError("port/proto not found")

    monkeypatch.setattr(socket, "getnameinfo", getnameinfo)
    monkeypatch.setattr(socket, "getservbyport", getservbyport)
    monkeypatch.setattr(names, "NETWORKS", GOLDEN / "networks")
    names.forget()
    yield MachineNames()
    names.forget()


def test_list_with_names(case: Path, debian: MachineNames) -> None:
    expected = case.with_suffix(".names").read_text()
    assert each(read(case), list_table, form=Form(names=debian)) == expected


def test_short_list_with_names(case: Path, debian: MachineNames) -> None:
    expected = case.with_suffix(".names-short").read_text()
    assert each(read(case), list_table, form=Form(verbose=False, names=debian)) == expected


def test_what_was_saved_reads_the_same(case: Path) -> None:
    ruleset = read(case)
    again = parse_saved(format_saved(ruleset, counters=True), "again", ruleset.family)
    assert format_saved(again, counters=True) == format_saved(ruleset, counters=True)
