"""From rules, as text or as values, to what is loaded and what is kept of them.

    SavedText or Ruleset → Readable → Prepared → loaded, and kept as Lines

A large text is read into columns and compiled from these (columns.py); the ordinary reader
takes it if it holds anything out of the ordinary, and has the say about what is wrong.
"""

from __future__ import annotations

from array import array
from functools import cached_property
from typing import Protocol

from bpfilter.compiler.build import Compiled, compile_table
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import RuleError
from bpfilter.firewall import counters
from bpfilter.firewall.lines import Lines, encode
from bpfilter.firewall.policies import Policies, declare, undeclared
from bpfilter.rules.check import check_ruleset
from bpfilter.rules.model import TABLES, Family, Ruleset, Table

TABLE = "filter"


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


class Readable(Protocol):
    """A filter table that has been read, and found right."""

    @property
    def undeclared(self) -> frozenset[str]:
        """The base chains whose policies it does not say."""

    def compile(self, policies: Policies, target: Target) -> Prepared:
        """Compile it, with the policies that it does not say.

        Raises: as `compile_table`.
        """


class SavedText:
    """An iptables-save text, read when asked; `name` stands for its file in messages."""

    def __init__(self, text: str | bytes, name: str, family: Family) -> None:
        self.text = text
        self.name = name
        self.family = family

    @cached_property
    def readable(self) -> Readable:
        """Raises: RuleSyntaxError, RuleError: the first fault, with the others as its notes."""
        from bpfilter.rules.saved import parse_saved

        return ParsedRules(parse_saved(self.text, self.name, self.family))


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
            {chain.name: chain.policy for chain in table.chains if chain.policy is not None},
            sum(len(chain.rules) for chain in table.chains),
        )


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
