"""From rules, as text or as values, to what is loaded and what is kept of them.

    GivenText or Ruleset → Readable → Prepared → loaded, and kept as Lines

A large text is read into columns and compiled from these (large.py); the ordinary reader
takes it if it holds anything out of the ordinary, and has the say about what is wrong.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Protocol

from bpfilter.compiler.build import Compiled, compile_table
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import RuleError, SourceError
from bpfilter.firewall import counters
from bpfilter.firewall.given import LARGE
from bpfilter.firewall.lines import TABLE, Lines, encode
from bpfilter.firewall.policies import Policies, declare, undeclared
from bpfilter.firewall.traits import traits
from bpfilter.rules.check import check_ruleset
from bpfilter.rules.model import TABLES, Chain, Ruleset, Table


@dataclass(frozen=True, slots=True)
class Prepared:
    """A ruleset ready to load, and what will be kept of it."""

    compiled: Compiled
    lines: Lines
    #: The counter of each line; None if they are those after the policies, one by one.
    order: array[int] | None
    #: The counters that stand in the text, in the order of the map.
    written: bytes
    policies: dict[str, str]
    rules: int
    #: The trait of each line (traits.py).
    traits: array[int]
    #: Whether the lines are spelt and ordered as iptables-save writes them.
    canonical: bool
    #: What the compiler needs to change rules in place, if their lines are in plain form.
    layout: bytes = b""


class Readable(Protocol):
    """A filter table that has been read, and found right."""

    @property
    def undeclared(self) -> frozenset[str]:
        """The base chains whose policies it does not say."""

    def compile(self, policies: Policies, target: Target) -> Prepared:
        """Compile it, with the policies that it does not say.

        Raises: as `compile_table`.
        """


class ParsedRules:
    """A table of Rules.

    Raises: RuleError (a group's first, the others as notes) if rules are wrong, or belong
    to a table that is not enforced yet.
    """

    def __init__(self, ruleset: Ruleset) -> None:
        self.family = ruleset.family
        self.table = filter_table(ruleset)
        self.undeclared = undeclared(self.table.chains)

    def compile(self, policies: Policies, target: Target) -> Prepared:
        table = replace(self.table, chains=declare(self.table.chains, policies))
        return Prepared(
            compile_table(table, self.family, target),
            Lines.of_table(table, self.family),
            None,
            counters.written(table),
            policies_of(table.chains),
            sum(len(chain.rules) for chain in table.chains),
            traits(table),
            canonical=True,
        )


def of_values(ruleset: Ruleset) -> Readable:
    """Take rules that are values already; many are better compiled from their text."""
    parsed = ParsedRules(ruleset)
    if sum(len(chain.rules) for chain in parsed.table.chains) < LARGE:
        return parsed
    from bpfilter.firewall.large import read_large

    text = Lines.of_table(parsed.table, parsed.family).text
    large = read_large(text, "", parsed.family, lambda: parsed)
    return parsed if large is None else _WithSpans(parsed, large)


class _WithSpans:
    """Rules with places in a text of somebody's own; what is wrong is said with these."""

    def __init__(self, parsed: ParsedRules, large: Readable) -> None:
        self.parsed = parsed
        self.large = large
        self.undeclared = parsed.undeclared

    def compile(self, policies: Policies, target: Target) -> Prepared:
        try:
            made = self.large.compile(policies, target)
        except SourceError:
            return self.parsed.compile(policies, target)
        return replace(made, written=counters.written(self.parsed.table))


def policies_of(chains: Iterable[Chain]) -> dict[str, str]:
    """Give the policies of the base chains."""
    return {chain.name: chain.policy for chain in chains if chain.policy is not None}


def filter_table(ruleset: Ruleset) -> Table:
    """Give the table to enforce, its chains in order.

    Raises: RuleError (a group's first, the others as notes) if rules are wrong, or belong
    to a table that is not enforced yet.
    """
    problems = list(check_ruleset(ruleset))
    for table, _, _, rule in ruleset.rules():
        if table.name != TABLE:
            problems.append(
                RuleError(
                    f"table '{table.name}' is not enforced by this version; keep its rules "
                    f"in {ruleset.family.command}, and apply the filter table alone",
                    rule.span,
                )
            )
    if problems:
        first, *others = problems
        for other in others:
            first.add_note(str(other))
        raise first
    found = ruleset.table(TABLE)
    if found is None:
        raise RuleError(f"there is no *{TABLE} table in this ruleset")
    return _in_order(found)


def _in_order(table: Table) -> Table:
    # As read back from text: counters are kept by their place.
    base = TABLES[table.name]
    place = {name: (index, b"") for index, name in enumerate(base)}
    chains = sorted(
        table.chains,
        key=lambda chain: place.get(chain.name, (len(base), encode(chain.name))),
    )
    return replace(table, chains=tuple(chains))
