"""Two measurements side by side: a table on a terminal, aligned text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bpfilter import Chain, Counters, Family, Table
from bpfilter.rules.options import format_rule
from demo.measure import Measurement

FAMILY_NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Line:
    """One rule, or one chain's policy, counted twice."""

    rule: str
    ours: Counters
    theirs: Counters

    @property
    def agrees(self) -> bool:
        return self.ours == self.theirs


@dataclass(frozen=True, slots=True)
class Score:
    """What agreed of how much; `packets` are those counted by rules and policies."""

    rules: int
    rules_equal: int
    packets: int
    packets_equal: int
    bytes: int
    outcomes: int
    outcomes_equal: int

    @property
    def is_perfect(self) -> bool:
        return self.rules == self.rules_equal and self.outcomes == self.outcomes_equal

    def sentences(self) -> list[str]:
        return [
            f"conversations: {self.outcomes_equal} of {self.outcomes} went alike",
            f"rules and policies: {self.rules_equal} of {self.rules} counted alike",
            f"packets: {self.packets_equal} of {self.packets} counted alike "
            f"({self.bytes} bytes; a packet counts in each rule it matches)",
        ]


def compare_tables(ours: Table, theirs: Table, family: Family) -> list[Line]:
    """Set two tables of the same rules side by side, policies behind each base chain."""
    lines: list[Line] = []
    for left, right in zip(ours.chains, theirs.chains, strict=True):
        lines += _compare_chains(left, right, family)
    return lines


def _compare_chains(ours: Chain, theirs: Chain, family: Family) -> Iterator[Line]:
    for left, right in zip(ours.rules, theirs.rules, strict=True):
        text = format_rule(left, ours.name, family)
        assert text == format_rule(right, theirs.name, family), "the same rules in the same order"
        yield Line(text, left.counters, right.counters)
    if ours.policy is not None:
        yield Line(f"-P {ours.name} {ours.policy}", ours.counters, theirs.counters)


def compare(ours: Measurement, theirs: Measurement) -> tuple[dict[Family, list[Line]], Score]:
    """Give all lines, and the score."""
    lines = {
        family: compare_tables(table, theirs.tables[family], family)
        for family, table in ours.tables.items()
    }
    flat = [line for each in lines.values() for line in each]
    outcomes = [
        (left, right)
        for family, left_outcomes in ours.outcomes.items()
        for left, right in zip(left_outcomes, theirs.outcomes[family], strict=True)
    ]
    return lines, Score(
        rules=len(flat),
        rules_equal=sum(line.agrees for line in flat),
        packets=sum(line.theirs.packets for line in flat),
        packets_equal=sum(min(line.theirs.packets, line.ours.packets) for line in flat),
        bytes=sum(line.theirs.bytes for line in flat),
        outcomes=len(outcomes),
        outcomes_equal=sum(left == right for left, right in outcomes),
    )


def show(
    ours: Measurement, theirs: Measurement, lines: dict[Family, list[Line]], score: Score
) -> None:
    """Print everything; the verdict comes last."""
    draw = _draw_rich if sys.stdout.isatty() else _draw_plain
    for family, rules in lines.items():
        name = FAMILY_NAMES[family]
        draw(
            f"{name} traffic through the router",
            ("hook", "what", "eBPF", "iptables", "equal"),
            [
                (hook, what, left, right, _yes(left == right))
                for (hook, what, left), (_, _, right) in zip(
                    ours.outcomes[family], theirs.outcomes[family], strict=True
                )
            ],
        )
        draw(
            f"{name} rules: packets and bytes by eBPF, beside those by iptables-legacy",
            (">packets", ">iptables", ">bytes", ">iptables", "equal", "rule"),
            [
                (
                    str(line.ours.packets),
                    str(line.theirs.packets),
                    str(line.ours.bytes),
                    str(line.theirs.bytes),
                    _yes(line.agrees),
                    line.rule,
                )
                for line in rules
            ],
        )
    for sentence in score.sentences():
        print(sentence)


def _yes(equal: bool) -> str:
    return "yes" if equal else "NO"


def _draw_plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    names = [column.lstrip(">") for column in columns]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    print(f"{title}\n")
    for row in (names, *rows):
        cells = [
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        print("  ".join(cells).rstrip())
    print()


def _draw_rich(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column != "rule",
        )
    styles = {"yes": "green", "NO": "bold red"}
    for row in rows:
        drawn.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    Console().print(drawn)
