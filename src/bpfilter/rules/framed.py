"""One table's rules as lines, written and listed without a rule for each of them.

Lines are cut into frames (`frames.py`), and of each frame it is found out once what
iptables-save and `iptables -L` make of its lines (`probes.py`). Where that cannot be said,
and for frames of one line, a rule is read.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from bpfilter.dataclass import replace
from bpfilter.errors import RuleSyntaxError
from bpfilter.rules import frames
from bpfilter.rules.address import parse_addresses
from bpfilter.rules.frames import HOLE, Frames
from bpfilter.rules.listing import Columns, Form
from bpfilter.rules.model import Chain, Family, Jump, Rule
from bpfilter.rules.options import RuleFormatter, RuleParser
from bpfilter.rules.probes import (
    Frame,
    HoleNames,
    as_template,
    line_template,
    probe,
    row_template,
)
from bpfilter.rules.registry import REGISTRY, Word
from bpfilter.rules.shapes import unquoted
from bpfilter.rules.written import Written
from bpfilter.source import Span

_PLAIN_NAME = re.compile(r"[\w.][\w.-]*", re.ASCII)
# Stands where counters do that are written before the target; no text has it.
_COUNTED = " \ud800"
# What alone RuleFormatter writes with `exact`, and not without.
_LOST = " -p all"


class FramedTable:
    """A table: its chains without their rules, and lines of rules with their counters (packets,
    bytes, packets, bytes, …), those of one chain in their order.

    `canonical` lines are known to be as RuleFormatter writes them with `exact`.
    """

    def __init__(
        self,
        name: str,
        family: Family,
        chains: Sequence[Chain],
        lines: list[str],
        counters: Sequence[int],
        *,
        canonical: bool = False,
    ) -> None:
        self.family = family
        self.chains = chains
        self.lines = lines
        self.counters = counters
        self.canonical = canonical
        self.names = {chain.name for chain in chains}
        self.parser = RuleParser(family, name, self.names)
        #: User chains whose rules mean the same in each, and that `-j` takes for nothing else.
        taken = REGISTRY.names()
        self.alike = {
            chain.name
            for chain in chains
            if chain.policy is None and chain.name not in taken
            if _PLAIN_NAME.fullmatch(chain.name)
        }

    def written(self, counters: bool = False) -> list[Written]:
        """Write the rules, as `write_table` does. Raises: SourceError if one is none."""
        if self.canonical and not counters and not any(_LOST in line for line in self.lines):
            chains, lines = [line.split(" ", 2)[1] for line in self.lines], self.lines
        else:
            formatter = RuleFormatter(self.family)
            chains, lines = self._written(formatter, _COUNTED if counters else "")
        return [
            Written(chain, _counted(of_chain, counts) if counters else of_chain, counts)
            for chain, of_chain, counts in self._by_chain(chains, lines)
        ]

    def spelt(self) -> list[tuple[str, int]]:
        """Write the rules, in the order of the chains, so that nothing is lost (`exact`); give
        each with the index of its line. Raises: SourceError if one is none."""
        chains, lines = self._written(RuleFormatter(self.family, exact=True), "")
        places = {chain.name: place for place, chain in enumerate(self.chains)}
        order = sorted(range(len(lines)), key=lambda at: places[chains[at]])
        return [(lines[at], at) for at in order]

    # The chain of each rule, and its line, with `counted` before the target.
    def _written(self, formatter: RuleFormatter, counted: str) -> tuple[list[str], list[str]]:
        cut = self._cut()
        rows = self._framed(cut)
        as_they_stand = cut.as_written and not counted
        for frame in dict.fromkeys(rows):
            if frame.rule is not None:
                line = formatter.line(frame.rule, frame.chain, counted)
                frame.template = line_template(frame, line, self.family, self.alike)
                as_they_stand &= frame.template in ("", as_template(frame.text, frame.holes))

        def made(_: Frame, line: str) -> str:
            chain, rule = self._read(line)
            return formatter.line(rule, chain, counted)

        if not as_they_stand:
            return cut.chains, self._filled(cut, cut.values, rows, made)
        return cut.chains, [
            line if frame.template else made(frame, line)
            for line, frame in zip(self.lines, rows, strict=True)
        ]

    def listed(self, form: Form, chain: str | None = None, number: int = 0) -> str:
        """List the rules, as `list_table` does. Raises: KeyError, and as `written`."""
        if chain is not None and chain not in self.names:
            raise KeyError(chain)
        columns = Columns(self.family, form)
        cut = self._cut(ports=form.names.numeric)
        rows = self._framed(cut)
        names = HoleNames() if form.names.numeric else form.names
        with_holes = Columns(self.family, replace(form, names=names))
        for frame in dict.fromkeys(rows):
            if frame.rule is not None:
                frame.template = row_template(frame, frame.rule, with_holes)
        values = {hole: self._shown(hole, each, columns) for hole, each in cut.values.items()}
        references = self._references(cut, rows)

        def made(frame: Frame, line: str) -> str:
            rule = self._read(line)[1]
            references.update(_jumps(frame, rule))
            return columns.rule(rule)

        lines = self._filled(cut, values, rows, made)
        return "\n".join(
            [
                columns.chain(
                    each, references[each.name], _numbered(lines, counts, columns), number
                )
                for each, lines, counts in self._by_chain(cut.chains, lines)
                if chain in (None, each.name)
            ]
        )

    def _cut(self, ports: bool = True) -> Frames:
        cut = Frames(self.lines, self.family, self.alike, ports=ports)
        if len(cut.chains) < len(self.lines) or not self.names.issuperset(cut.chains):
            exact = RuleFormatter(self.family, exact=True)
            self.lines = [exact.line(rule, name) for name, rule in map(self._read, self.lines)]
            cut = Frames(self.lines, self.family, self.alike, ports=ports)
        return cut

    def _read(self, line: str) -> tuple[str, Rule]:
        command = self.parser.parse_line(line, Span("", 1, 1, len(line) + 1, line))
        if command is None or len(command.rules) != 1 or command.chain not in self.names:
            raise RuleSyntaxError("one rule to append is expected here")
        return command.chain, command.rules[0]

    # The frame of each line. Chains that are alike have the same.
    def _framed(self, cut: Frames) -> list[Frame]:
        shared: dict[str, Frame] = {}
        known = {name: shared if name in self.alike else {} for name in self.names}
        rows: list[Frame] = []
        for text, chain, line in zip(cut.texts, cut.chains, self.lines, strict=True):
            frame = known[chain].get(text)
            if frame is None:
                frame = known[chain][text] = Frame(text, chain, line)
            else:
                frame.several = True
            rows.append(frame)
        for frame in dict.fromkeys(rows) if cut.has_holes else ():
            frame.holes = "".join(HOLE.findall(frame.text))
            if frame.several:
                frame.rule = probe(frame, self.family, self.alike, self._read)
        return rows

    # What the templates make of each line, or else `make`.
    def _filled(
        self,
        cut: Frames,
        values: Mapping[str, list[str]],
        rows: list[Frame],
        make: Callable[[Frame, str], str],
    ) -> list[str]:
        following = {hole: iter(each).__next__ for hole, each in values.items()}
        takes = {frame: [following[hole] for hole in frame.holes] for frame in dict.fromkeys(rows)}
        lines: list[str] = []
        for line, chain, frame in zip(self.lines, cut.chains, rows, strict=True):
            taken = [take() for take in takes[frame]]
            lines.append(
                frame.template.format(chain, *taken) if frame.template else make(frame, line)
            )
        return lines

    # Each chain with its lines and their counters.
    def _by_chain(
        self, chains: list[str], lines: list[str]
    ) -> Iterator[tuple[Chain, list[str], Sequence[int]]]:
        found: dict[str, tuple[list[str], array[int]]] = {
            name: ([], array("Q")) for name in self.names
        }
        at = 0
        for name, run in groupby(chains):
            stop = at + len(list(run))
            of_chain, counts = found[name]
            of_chain += lines[at:stop]
            counts.extend(self.counters[2 * at : 2 * stop])
            at = stop
        for chain in self.chains:
            yield chain, *found[chain.name]

    # How often each chain is jumped to, but by rules that are still to be read.
    def _references(self, cut: Frames, rows: list[Frame]) -> Counter[str]:
        references = Counter(cut.values.get(frames.JUMP, []))
        references.update(cut.values.get(frames.GOTO, []))
        for frame, times in Counter(rows).items():
            if frame.rule is not None:
                references.update(_jumps(frame, frame.rule) * times)
        return references

    # Values as a listing has them.
    def _shown(self, hole: str, values: list[str], columns: Columns) -> list[str]:
        if hole == frames.COMMENT:
            return list(map(unquoted, values))
        if hole not in (frames.SOURCE, frames.DESTINATION):
            return values
        if columns.names.numeric:
            whole = f"/{8 * self.family.address_bytes}"
            return [value.removesuffix(whole) for value in values]
        shown: dict[str, str] = {}
        for value in set(values):
            (address,) = parse_addresses(Word(value), self.family)
            shown[value] = columns.address_text(address)
        return list(map(shown.__getitem__, values))


# The chain that a rule jumps to, if that is no value of its line.
def _jumps(frame: Frame, rule: Rule) -> list[str]:
    if frames.JUMP in frame.holes or frames.GOTO in frame.holes:
        return []
    return [rule.target.chain] if isinstance(rule.target, Jump) else []


def _counted(lines: list[str], counts: Sequence[int]) -> list[str]:
    pairs = zip(lines, counts[::2], counts[1::2], strict=True)
    return [line.replace(_COUNTED, f" -c {packets} {size}") for line, packets, size in pairs]


def _numbered(lines: list[str], counts: Sequence[int], columns: Columns) -> list[str]:
    pairs = zip(lines, counts[::2], counts[1::2], strict=True)
    return [columns.count(at, *pair) + line for at, (line, *pair) in enumerate(pairs, 1)]
