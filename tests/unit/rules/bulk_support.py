"""Texts read as columns and read line by line must say the same."""

from __future__ import annotations

from typing import Any
from unittest import mock

from numpy.typing import NDArray

from bpfilter.rules import saved
from bpfilter.rules.bulk import BulkTable, Slot, read_bulk
from bpfilter.rules.model import Family, Jump, Rule, Table


def read_both(text: str, family: Family = Family.IPV4) -> dict[str, BulkTable] | None:
    """Read a text both ways and compare all that columns say; None if it has no columns."""
    bulk = read_bulk(text, "file", family)
    if bulk is None:
        return None
    with mock.patch.object(saved, "MANY_LINES", len(text) + 1):
        ruleset, errors = saved.read_saved(text, "file", family)
    assert not errors
    assert [table.name for table in ruleset.tables] == list(bulk)
    for table in ruleset.tables:
        made = bulk[table.name]
        _are_same(made.table(), table)
        assert len(made) == sum(len(chain.rules) for chain in table.chains)
        assert len(made.chains) == len(table.chains)
        for index, (chain, other) in enumerate(zip(table.chains, made.chains, strict=True)):
            assert (chain.name, chain.policy, chain.counters, chain.span, chain.declared) == (
                (other.name, other.policy, other.counters, other.span, other.declared)
            )
            rows = range(made.starts[index], made.starts[index + 1])
            assert len(rows) == len(chain.rules)
            for rule, row in zip(chain.rules, rows, strict=True):
                read = made.rule(row)
                assert read == rule
                assert (read.counters, read.span) == (rule.counters, rule.span)
                assert read.any_protocol == rule.any_protocol
                assert rule.span is not None
                assert made.line[row] == rule.span.line
                assert _jumped_to(made, row) == _target_chain(rule)
                assert _filled(made, row) <= made.shapes[made.shape[row]].slots
    return bulk


def _are_same(table: Table, other: Table) -> None:
    assert table == other
    assert [rule.span for chain in table.chains for rule in chain.rules] == [
        rule.span for chain in other.chains for rule in chain.rules
    ]
    assert [_unequalled(rule) for chain in table.chains for rule in chain.rules] == [
        _unequalled(rule) for chain in other.chains for rule in chain.rules
    ]


def _unequalled(rule: Rule) -> tuple[object, ...]:
    return rule.counters, rule.any_protocol


def _target_chain(rule: Rule) -> str | None:
    return rule.target.chain if isinstance(rule.target, Jump) else None


def _jumped_to(table: BulkTable, row: int) -> str | None:
    return table.names[table.jump[row]] if table.jump[row] >= 0 else None


# Slots with something in their columns.
def _filled(table: BulkTable, row: int) -> set[Slot]:
    columns: dict[Slot, tuple[NDArray[Any], ...]] = {
        Slot.SOURCE: (table.source, table.source_mask),
        Slot.DESTINATION: (table.destination, table.destination_mask),
        Slot.SPORTS: (table.sports,),
        Slot.DPORTS: (table.dports,),
        Slot.COMMENT: (table.comment,),
    }
    return {slot for slot, arrays in columns.items() if any(array[row].any() for array in arrays)}


def filter_table(*lines: str, chains: tuple[str, ...] = ()) -> str:
    declared = [f":{name} - [0:0]" for name in chains]
    return "\n".join(("*filter", *declared, *lines, "COMMIT", ""))
