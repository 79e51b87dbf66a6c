"""`-m state`: the old spelling of `-m conntrack --ctstate`, saved as it was written."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext.conntrack import STATES, format_bits, parse_states
from bpfilter.plan import fields
from bpfilter.plan.nodes import Predicate, any_bit, inverted_if
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted


@match("state")
@dataclass(frozen=True, slots=True)
class State(Match):
    """`states` are XT_CONNTRACK_STATE_* bits; SNAT and DNAT have no place in it."""

    states: int
    not_states: bool = False

    TRACKS = True
    OPTIONS = (
        Option(
            "--state",
            "state[,state]",
            "INVALID, NEW, ESTABLISHED, RELATED or UNTRACKED",
            invertible=True,
            required=True,
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(parse_states(use, "state", nat=False), use.inverted)

    def format(self, family: Family) -> list[str]:
        return inverted(["--state", format_bits(self.states, STATES)], self.not_states)

    def describe(self, family: Family) -> str:
        return " ".join(self.format(family)).replace("--", "")

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return inverted_if(self.not_states, any_bit(fields.CT_STATE, self.states))
