"""The rules in force with their counters: as values, as lines, or as text."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.dataclass import replace
from bpfilter.errors import StateError
from bpfilter.firewall import counters
from bpfilter.firewall.apply import totals
from bpfilter.firewall.counters import FIRST_RULE, PAIR_BYTES
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.lines import TABLE, Lines
from bpfilter.firewall.store import Store
from bpfilter.rules.model import Counters, Family, Table
from bpfilter.rules.saved import parse_saved, read_columns
from bpfilter.rules.written import Written, write_table


def current_table(store: Store, family: Family) -> Table | None:
    """Give the table in force with its counters, None if there is none.

    Raises: StateError if what is in force has lost its state.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    text = store.records.text(generation)
    table = _table(text, generation, family)
    return counters.with_counters(table, _values(store, generation, text, _line_numbers(table)))


def current_written(store: Store, family: Family) -> list[Written] | None:
    """Give the chains in force with their rules written as lines, None if there are none.

    Raises: StateError as `current_table`.
    """
    generation = store.generation(family)
    if generation is None:
        return None
    text = store.records.text(generation)
    numbers, chains = _written(text, generation)
    return _with_counters(chains, _values(store, generation, text, numbers))


def canonical_lines(generation: Generation, text: bytes) -> Iterator[tuple[str, int]]:
    """Give the rules of a kept text in the order and spelling of iptables-save, from which
    nothing is lost, each with its line's number there, from 0."""
    numbers, chains = _written(text, generation, exact=True)
    first = Lines.of_text(text).head.count(b"\n") + 1
    lines = (line for chain in chains for line in chain.lines)
    return zip(lines, (number - first for number in numbers), strict=True)


# The rules and the numbers of their lines.
def _written(
    text: bytes, generation: Generation, *, exact: bool = False
) -> tuple[list[int], list[Written]]:
    family = generation.family
    tables = read_columns(text.decode("utf-8", "surrogateescape"), generation.name, family)
    if tables is None:
        table = _table(text, generation, family)
        return _line_numbers(table), write_table(table, family, exact=exact)
    from bpfilter.rules.rewrite import write_columns

    columns = tables[TABLE]
    return columns.line.tolist(), write_columns(columns, exact=exact)


def _table(text: bytes, generation: Generation, family: Family) -> Table:
    table = parse_saved(text, f"<{generation.name}>", family).table(TABLE)
    if table is None:
        raise StateError("the rules in force have lost their table")
    return table


# Rules of one chain may lie apart in the text.
def _line_numbers(table: Table) -> list[int]:
    rules = [rule for chain in table.chains for rule in chain.rules]
    return [rule.span.line for rule in rules if rule.span is not None]


# The counters in the order of the map, of rules on lines with these numbers.
def _values(store: Store, generation: Generation, text: bytes, numbers: list[int]) -> array[int]:
    values = totals(store, generation)
    lines = counters.of_lines(values, store.records.order(generation), generation.rules)
    first = Lines.of_text(text).head.count(b"\n") + 1
    policies = values[: PAIR_BYTES * FIRST_RULE]
    return counters.unpack(policies + counters.pick(lines, [each - first for each in numbers]))


def _with_counters(chains: list[Written], values: array[int]) -> list[Written]:
    at, made = 2 * FIRST_RULE, []
    numbers = iter(values[2 * COUNTER_FIRST : at])
    policies = map(Counters, numbers, numbers)
    for each in chains:
        stop = at + 2 * len(each.lines)
        chain = each.chain
        if chain.policy is not None:
            chain = replace(chain, counters=next(policies))
        made.append(Written(chain, each.lines, values[at:stop]))
        at = stop
    return made


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
