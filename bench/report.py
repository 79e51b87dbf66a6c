"""Results as Markdown: the tables of docs/performance.md, and what is printed at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.bars import Bar, bars
from bench.results import CALLS, EMPTY_PROGRAM, EVEN, OURS, PEERS, WORST, Figure, Results, What

BEGIN = "<!-- measured: written by bench/run -->"
END = "<!-- end of what was measured -->"

#: What a figure is divided by for a table, and how it is written.
_SCALES = {
    What.THROUGHPUT: (1e3, "thousands of packets a second"),
    What.TEST_RUN: (1, "nanoseconds a packet"),
    What.LOAD: (1, "seconds"),
    What.CHANGE: (1, "seconds"),
    What.PEAK: (1e6, "MB"),
    What.MAPS: (1e6, "MB"),
    **dict.fromkeys(CALLS, (1e-3, "milliseconds")),
}
_HEADINGS = {
    What.TEST_RUN: "One packet, by test run",
    What.LOAD: "Loading, text to enforced, the whole process",
    What.CHANGE: "Changing one rule, the whole process",
    What.PEAK: "Peak memory of the command that loads",
    What.MAPS: "Kernel memory of the maps",
}


def markdown(results: Results, plots: Sequence[Path] = ()) -> str:
    """Give all tables; `plots` are paths as the document is to name them."""
    parts = [_machine(results)]
    if bar_lines := bar_table(bars(results)):
        parts.append("\n".join(["## Bars", "", *bar_lines]))
    parts += [f"![{plot.stem.replace('-', ' ')}]({plot})" for plot in plots]
    for family in results.families(What.THROUGHPUT):
        for packets, words in ((EVEN, "drawn evenly"), (WORST, "worst case")):
            table = _by_peer(results, What.THROUGHPUT, family, packets)
            heading = f"### Throughput: {family}, packets {words}"
            unit = _SCALES[What.THROUGHPUT][1]
            parts.append("\n".join([heading, "", f"In {unit}.", "", *table]))
        parts += _reasons(results, What.THROUGHPUT, family)
    parts.append(_by_family(results, What.TEST_RUN, EVEN))
    for what in (What.LOAD, What.CHANGE, What.PEAK):
        for family in results.families(what):
            table = _by_peer(results, what, family)
            heading = f"### {_HEADINGS[what]}: {family}"
            parts.append("\n".join([heading, "", f"In {_SCALES[what][1]}.", "", *table]))
            parts += _reasons(results, what, family)
    parts.append(_by_family(results, What.MAPS))
    parts += _called(results)
    return "\n\n".join(part for part in parts if part) + "\n"


def bar_table(found: Iterable[Bar]) -> list[str]:
    """Give a line for each bar that there is something to say of."""
    rows = [
        [bar.what, _bound(bar), _measured(bar), "yes" if bar.is_met else "**no**"]
        for bar in found
        if bar.measured is not None
    ]
    return _table(["what", "bar", "measured", "met"], rows) if rows else []


def put_into(document: str, generated: str) -> str:
    """Put what was measured between the marks of a document; the prose around it stays."""
    before, mark, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the document has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{generated}\n{END}{after}"


def _machine(results: Results) -> str:
    return "; ".join(f"{name}: {value}" for name, value in results.machine.items()) + "."


def _by_peer(results: Results, what: What, family: str, packets: str = "") -> list[str]:
    sizes = results.sizes(what, family)
    scale = _SCALES[what][0]
    rows = []
    for size in sizes:
        cells = [
            _cell(results, what, family, size, peer, packets, scale)
            for peer in results.peers(what, family)
        ]
        if any(cells):
            rows.append([f"{size:,}", *cells])
    return _table(["rules", *results.peers(what, family)], rows)


def _called(results: Results) -> Iterator[str]:
    names = dict.fromkeys(name for what in CALLS for name in results.families(what))
    for family in names:
        for size in sorted({size for what in CALLS for size in results.sizes(what, family)}):
            found = {peer for what in CALLS for peer in results.peers(what, family)}
            peers = [peer for peer in PEERS if peer in found]
            rows = []
            for what in CALLS:
                scale = _SCALES[what][0]
                cells = [_cell(results, what, family, size, peer, "", scale) for peer in peers]
                if any(cells):
                    rows.append([f"`{what}`", *cells])
            heading = f"### One command, the whole process: {family}, {size:,} rules"
            unit = _SCALES[CALLS[0]][1]
            if rows:
                table = _table(["command", *peers], rows)
                yield "\n".join([heading, "", f"In {unit}.", "", *table])
        for what in CALLS:
            yield from _reasons(results, what, family)


def _by_family(results: Results, what: What, packets: str = "") -> str:
    names = [name for name in results.families(what) if name]
    if not names:
        return ""
    sizes = sorted({size for name in names for size in results.sizes(what, name)})
    scale = _SCALES[what][0]
    rows = [
        [f"{size:,}"] + [_cell(results, what, name, size, OURS, packets, scale) for name in names]
        for size in sizes
    ]
    nothing = results.median(what, "", 0, EMPTY_PROGRAM, packets)
    note = f" The empty program: {number(nothing)}." if nothing is not None else ""
    heading = f"### {_HEADINGS[what]}"
    lines = [heading, "", f"In {_SCALES[what][1]}.{note}", "", *_table(["rules", *names], rows)]
    return "\n".join(lines)


def _cell(
    results: Results,
    what: What,
    family: str,
    size: int,
    peer: str,
    packets: str,
    scale: float,
) -> str:
    median = results.median(what, family, size, peer, packets)
    return "" if median is None else number(median / scale)


def _reasons(results: Results, what: What, family: str) -> Iterator[str]:
    reasons = [
        f"- {figure.peer}, {figure.size:,} rules: {figure.reason}"
        for figure in results
        if (figure.what, figure.family) == (what, family)
        and figure.reason
        and not _is_said_already(results, figure)
    ]
    if reasons:
        yield "\n".join(reasons)


def _is_said_already(results: Results, figure: Figure) -> bool:
    if figure.what is What.THROUGHPUT:
        return False
    before = results.find(What.THROUGHPUT, figure.family, figure.size, figure.peer)
    return before is not None and before.reason == figure.reason


def _bound(bar: Bar) -> str:
    return f"{'≥' if bar.at_least else '≤'} {_with_unit(bar.bound, bar.unit)}"


def _measured(bar: Bar) -> str:
    assert bar.measured is not None
    return _with_unit(bar.measured, bar.unit)


def _with_unit(value: float, unit: str) -> str:
    text = number(value) if value >= 10 else f"{value:.2f}"
    return f"{text} {unit}" if unit.isalpha() else text + unit


def number(value: float) -> str:
    """Write three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - _magnitude(value))}f}"


def _magnitude(value: float) -> int:
    found = re.fullmatch(r"-?\d(?:\.\d+)?e([+-]\d+)", f"{value:e}")
    assert found
    return int(found[1])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    every = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(row) + " |" for row in every]
