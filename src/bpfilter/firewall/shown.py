"""The rules in force with their counters: as values, as lines, or as text."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.errors import StateError
from bpfilter.firewall import counters
from bpfilter.firewall.apply import totals
from bpfilter.firewall.counters import FIRST_RULE, PAIR_BYTES
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.lines import TABLE, Lines
from bpfilter.firewall.store import Store
from bpfilter.rules.edit import TableDraft
from bpfilter.rules.framed import FramedTable
from bpfilter.rules.model import Chain, Counters, Family, Table
from bpfilter.rules.saved import parse_saved


def current_table(store: Store, family: Family) -> Table | None:
    """Give the table in force with its counters, None if there is none.

    Raises: StateError if what is in force has lost its state.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    text = store.records.text(generation)
    table = parse_saved(text, f"<{generation.name}>", family).table(TABLE)
    if table is None:
        raise StateError("the rules in force have lost their table")
    return counters.with_counters(table, _values(store, generation, text, table))


# The counters in the order of the map. Rules of one chain may lie apart in the text.
def _values(store: Store, generation: Generation, text: bytes, table: Table) -> array[int]:
    values = totals(store, generation)
    lines = counters.of_lines(values, store.records.order(generation), generation.rules)
    first = Lines.of_text(text).head.count(b"\n") + 1
    rules = [rule for chain in table.chains for rule in chain.rules]
    numbers = [rule.span.line - first for rule in rules if rule.span is not None]
    return counters.unpack(values[: PAIR_BYTES * FIRST_RULE] + counters.pick(lines, numbers))


def current_lines(store: Store, family: Family) -> FramedTable | None:
    """Give the same as lines, to be written or listed, which takes less time.

    Raises: StateError as `current_table`.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    kept = Lines.of_text(store.records.text(generation))
    policies, rules = _counters(store, generation)
    framed = _framed(kept, generation, policies, rules)
    if 2 * len(framed.lines) != len(rules):
        raise StateError("the rules in force have lost some of their counters")
    return framed


def canonical_lines(generation: Generation, kept: Lines) -> list[tuple[str, int]]:
    """Give the rules of a kept text in the order and spelling of iptables-save, from which
    nothing is lost, each with its line's number there, from 0."""
    return _framed(kept, generation, array("Q", bytes(PAIR_BYTES * FIRST_RULE)), ()).spelt()


def _framed(
    kept: Lines, generation: Generation, policies: Sequence[int], rules: Sequence[int]
) -> FramedTable:
    family = generation.family
    lines = bytes(kept.body).decode("utf-8", "surrogateescape").split("\n")[:-1]
    chains = _chains(kept, family, policies)
    return FramedTable(TABLE, family, chains, lines, rules, canonical=generation.canonical)


# Chains as a Table has them, without rules.
def _chains(kept: Lines, family: Family, policies: Sequence[int]) -> tuple[Chain, ...]:
    draft = TableDraft(TABLE, family)
    numbers = iter(policies)
    for declared in kept.head.decode("utf-8", "surrogateescape").split("\n")[1:-1]:
        name, policy, _ = declared[1:].split(" ")
        if policy == "-":
            draft.add_chain(name, None)
        else:
            draft.set_policy(name, policy, Counters(next(numbers), next(numbers)), None)
    return draft.table().chains


# Those of the policies, and those of the rules in the order of their lines.
def _counters(store: Store, generation: Generation) -> tuple[array[int], array[int]]:
    values = totals(store, generation)
    lines = counters.of_lines(values, store.records.order(generation), generation.rules)
    policies = counters.unpack(values[PAIR_BYTES * COUNTER_FIRST : PAIR_BYTES * FIRST_RULE])
    return policies, counters.unpack(lines)


def current_text(store: Store, family: Family) -> bytes | None:
    """Give the same as a text with counters, None if nothing is in force.

    Its lines are those that are kept (lines.py), so that nothing is lost by applying it again.
    Raises: StateError as `current_table`.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    kept = Lines.of_text(store.records.text(generation))
    return kept.with_counters(*_counters(store, generation))
