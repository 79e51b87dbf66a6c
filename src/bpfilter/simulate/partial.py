"""Rulesets with rules that cannot be enforced: what can be said all the same.

A rule is kept as far as it is decidable: its header and the matches before the first
refused one, for a packet they do not let through gets no further. Then it matters what
the rule would do:

- REJECT drops the packet, whatever else it sends; LOG and the like let it go on. Such a
  target is no reason to stop.
- A rule that lets packets go on decides nothing, so it may stay open whether it matched.
- All other rules stop: a packet that gets there is undecided.
"""

from __future__ import annotations

from bpfilter.compiler.lower import CounterKey, asked_words, lower_table
from bpfilter.dataclass import dataclass, field, replace
from bpfilter.errors import RefusedError
from bpfilter.rules.model import Chain, Family, Match, Rule, Table, Target, Verdict

#: Targets whose only effect on the packet is that it goes on (XT_CONTINUE).
HARMLESS = frozenset(("AUDIT", "LOG", "NFLOG", "TEE"))
DROP = Verdict("DROP")


@dataclass(slots=True)
class Partial:
    """A table that can be compiled, and the rules of it that are not what they were.

    `stops` are rules at which nothing is decided, `open` those which may or may not match.
    """

    table: Table
    stops: dict[CounterKey, RefusedError] = field(default_factory=dict)
    open: dict[CounterKey, RefusedError] = field(default_factory=dict)


def cut_refused(table: Table, family: Family) -> Partial:
    """Give what can be compiled of a table."""
    made = Partial(table)
    chains = []
    for chain in table.chains:
        rules = list(chain.rules)
        for index, rule in enumerate(rules):
            if _refusal(rule, family) is not None:
                rules[index] = _cut(rule, family, made, CounterKey(chain.name, index + 1))
        chains.append(replace(chain, rules=tuple(rules)))
    made.table = replace(table, chains=tuple(chains))
    return made


def _cut(rule: Rule, family: Family, made: Partial, key: CounterKey) -> Rule:
    rule = replace(rule, target=_effect(rule.target))
    refused = _refusal(rule, family)
    if refused is None:
        return rule
    kept = _decidable(rule, family)
    shorter = replace(rule, matches=rule.matches[:kept])
    if rule.target is None and not _may_drop(rule, rule.matches[kept + 1 :], family):
        made.open[key] = refused
        return shorter
    made.stops[key] = refused
    return replace(shorter, target=DROP)


def _decidable(rule: Rule, family: Family) -> int:
    # How many matches there are before the first refused one.
    for count in range(1, len(rule.matches) + 1):
        if _refusal(replace(rule, matches=rule.matches[:count], target=None), family) is not None:
            return count - 1
    return len(rule.matches)


def _effect(target: Target | None) -> Target | None:
    name = getattr(target, "NAME", "")
    if name == "REJECT":
        return DROP
    return None if name in HARMLESS else target


def _refusal(rule: Rule, family: Family) -> RefusedError | None:
    alone = Table("filter", (Chain("alone", (rule,)),))
    return next(iter(lower_table(alone, family).refused), None)


def _may_drop(rule: Rule, matches: tuple[Match, ...], family: Family) -> bool:
    # Whether matches behind a refused one could drop a packet (x_tables' hotdrop).
    try:
        words = [asked_words(match.predicate(family, rule)) for match in matches]
    except RefusedError:
        return True
    return any(name.endswith("_guard") for asked in words for name, _ in asked)
