"""Rulesets with rules that cannot be enforced: what can be said all the same.

Such a rule is cut off where it stops being decidable: the header and the matches before
the first refused one are kept, for a packet they do not let through never gets further.
The packets they do let through are undecided, and what comes after that rule is not asked.
"""

from __future__ import annotations

from dataclasses import replace

from bpfilter.compiler.lower import CounterKey, lower_table
from bpfilter.errors import RefusedError
from bpfilter.rules.model import Chain, Family, Rule, Table, Verdict

STOP = Verdict("DROP")


def cut_refused(table: Table, family: Family) -> tuple[Table, dict[CounterKey, RefusedError]]:
    """Give a table that can be compiled, and the rules in it at which nothing is decided."""
    undecided: dict[CounterKey, RefusedError] = {}
    chains = []
    for chain in table.chains:
        rules = list(chain.rules)
        for index, rule in enumerate(rules):
            refused = _refusal(rule, family)
            if refused is not None:
                rules[index] = _cut(rule, family)
                undecided[CounterKey(chain.name, index + 1)] = refused
        chains.append(replace(chain, rules=tuple(rules)))
    return replace(table, chains=tuple(chains)), undecided


def _refusal(rule: Rule, family: Family) -> RefusedError | None:
    alone = Table("filter", (Chain("alone", (rule,)),))
    return next(iter(lower_table(alone, family).refused), None)


def _cut(rule: Rule, family: Family) -> Rule:
    for kept in range(len(rule.matches), -1, -1):
        shorter = replace(rule, matches=rule.matches[:kept], target=STOP)
        if _refusal(shorter, family) is None:
            return shorter
    raise AssertionError("a rule without matches is never refused")
