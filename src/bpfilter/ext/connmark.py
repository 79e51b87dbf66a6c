"""`-m connmark`: the connection's mark (net/netfilter/xt_connmark.c, connmark_mt)."""

from __future__ import annotations

from bpfilter.dataclass import dataclass
from bpfilter.ext.mark import Mark
from bpfilter.plan.fields import CT_MARK, CT_PRESENT
from bpfilter.plan.nodes import Predicate, all_of, equals, inverted_if, masked_equals
from bpfilter.rules.model import Family, Rule
from bpfilter.rules.registry import Option, match


@match("connmark")
@dataclass(frozen=True, slots=True)
class Connmark(Mark):
    """A packet without a connection does not match, inverted or not."""

    TRACKS = True
    OPTIONS = (
        Option(
            "--mark", "value[/mask]", "the mark of the connection", invertible=True, required=True
        ),
    )

    def describe(self, family: Family) -> str:
        return f"connmark match {'!' if self.inverted else ''} {self}"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        here = masked_equals(CT_MARK, self.value, self.mask)
        return all_of(equals(CT_PRESENT, 1), inverted_if(self.inverted, here))
