"""The rules in force with their counters, as values or as text."""

from __future__ import annotations

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.errors import StateError
from bpfilter.firewall import counters
from bpfilter.firewall.apply import totals
from bpfilter.firewall.counters import FIRST_RULE, PAIR_BYTES
from bpfilter.firewall.lines import TABLE, Lines
from bpfilter.firewall.store import Store
from bpfilter.rules.model import Family, Table
from bpfilter.rules.saved import parse_saved


def current_table(store: Store, family: Family) -> Table | None:
    """Give the table in force with its counters, None if there is none.

    Raises: StateError if what is in force has lost its state.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    text = store.records.text(generation)
    head = Lines.of_text(text).head.count(b"\n")
    table = parse_saved(text, f"<{generation.name}>", family).table(TABLE)
    if table is None:
        raise StateError("the rules in force have lost their table")
    values = totals(store, generation)
    lines = counters.of_lines(values, store.records.order(generation), generation.rules)
    # Rules of one chain may lie apart in the text.
    at = [
        PAIR_BYTES * (rule.span.line - 1 - head)
        for chain in table.chains
        for rule in chain.rules
        if rule.span is not None
    ]
    policies = values[: PAIR_BYTES * FIRST_RULE]
    ordered = policies + b"".join([lines[start : start + PAIR_BYTES] for start in at])
    return counters.with_counters(table, counters.unpack(ordered))


def current_text(store: Store, family: Family) -> bytes | None:
    """Give the same as a text with counters, None if nothing is in force.

    Its lines are those that are kept (lines.py), so that nothing is lost by applying it again.
    Raises: StateError as `current_table`.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    values = totals(store, generation)
    lines = counters.of_lines(values, store.records.order(generation), generation.rules)
    kept = Lines.of_text(store.records.text(generation))
    policies = counters.unpack(values[PAIR_BYTES * COUNTER_FIRST : PAIR_BYTES * FIRST_RULE])
    return kept.with_counters(policies, counters.unpack(lines))
