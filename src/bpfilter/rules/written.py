"""Tables whose rules are written out as lines, with their counters beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bpfilter.dataclass import dataclass
from bpfilter.rules.model import Chain, Family, Rule, Table
from bpfilter.rules.options import RuleFormatter


@dataclass(frozen=True, slots=True)
class Written:
    """A chain's rules as iptables-save writes them; `chain` says all the rest of it.

    `counters` are packets, bytes, packets, bytes, … of the rules.
    """

    chain: Chain
    lines: list[str]
    counters: Sequence[int]

    def counted(self) -> Iterator[tuple[str, int, int]]:
        """Give each line with its packets and bytes."""
        return zip(self.lines, self.counters[::2], self.counters[1::2], strict=True)


def write_table(
    table: Table, family: Family, counters: bool = False, *, exact: bool = False
) -> list[Written]:
    """Write a table's rules; with `counters`, these are in the lines as well (`iptables -vS`).

    `exact` is as for RuleFormatter.
    """
    formatter = RuleFormatter(family, exact=exact)
    return [
        Written(
            chain,
            [formatter.line(rule, chain.name, _counted(rule, counters)) for rule in chain.rules],
            [
                number
                for rule in chain.rules
                for number in (rule.counters.packets, rule.counters.bytes)
            ],
        )
        for chain in table.chains
    ]


def _counted(rule: Rule, counters: bool) -> str:
    return f" -c {rule.counters.packets} {rule.counters.bytes}" if counters else ""
