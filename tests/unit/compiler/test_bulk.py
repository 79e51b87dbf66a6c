"""Compiling in columns: what differs from compiling rule by rule is the layout alone."""

from __future__ import annotations

import pytest

from bpfilter import Family
from bpfilter.compiler import frame
from bpfilter.compiler.build import Compiled
from bpfilter.compiler.bulk import compile_bulk
from bpfilter.compiler.index import layout
from bpfilter.compiler.target import Target
from bpfilter.errors import BuildError
from bpfilter.rules.bulk import read_bulk
from bpfilter.rules.model import Hook
from bpfilter.simulate.layouts import bundled_types

HEAD = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
MANY = [f"-A FORWARD -s 10.0.0.{host}/32 -j DROP" for host in range(100)]


def compiled(*rules: str) -> Compiled:
    tables = read_bulk(HEAD + "\n".join((*rules, "COMMIT\n")), "test", Family.IPV4)
    assert tables is not None
    return compile_bulk(tables["filter"], Target(bundled_types(), cpus=4, hz=250))


def test_what_no_packet_gets_to_is_not_read() -> None:
    dead = ("-A INPUT -j ACCEPT", "-A INPUT -m mark --mark 7", "-A own -m cpu --cpu 0")
    made, without = compiled(*MANY, *dead), compiled(*MANY, dead[0])
    assert made.words == without.words
    assert made.cells == without.cells
    assert len(made.counters) == len(without.counters) + 2


def test_programs_search_where_hooks_lead_to_an_index() -> None:
    made = compiled(*MANY)
    sizes = {hook: len(spec.insns) for hook, spec in made.programs.items()}
    assert [index.chain for index in made.indexes] == ["FORWARD"]
    assert sizes[Hook.FORWARD] > 3 * sizes[Hook.INPUT]


def test_a_few_cells_for_many_rules() -> None:
    (index,) = compiled(*MANY).indexes
    assert index.rules == 100
    assert index.steps < 8


def test_more_than_an_index_can_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such tables are compiled rule by rule (firewall/large.py)."""
    monkeypatch.setattr(layout, "FORMS_MAX", 1)
    with pytest.raises(BuildError, match="more than 1 combinations of masks"):
        compiled(*MANY)


def test_rules_that_leave_a_search_no_room_are_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that do not search have more words, and more return points."""
    assert compiled(*MANY).indexes
    deep = [":deep0 - [0:0]", *(f":deep{n + 1} - [0:0]" for n in range(90))]
    jumps = ["-A FORWARD -j deep0", *(f"-A deep{n} -j deep{n + 1}" for n in range(90))]
    assert not compiled(*deep, *jumps, *MANY).indexes
    monkeypatch.setattr(frame, "MAX_WORDS_SEARCHING", 0)
    assert not compiled(*MANY).indexes
