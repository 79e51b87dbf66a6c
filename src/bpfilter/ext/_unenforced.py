"""The base of matches that are read, written and listed, but not enforced in this version."""

from __future__ import annotations

from bpfilter.errors import RefusedError
from bpfilter.plan.nodes import Predicate
from bpfilter.rules.model import Family, Match, Rule


class UnenforcedMatch(Match):
    __slots__ = ()

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        raise RefusedError(f"match '{self.NAME}' cannot be enforced as eBPF yet", rule.span)
