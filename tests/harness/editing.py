"""A table changed in place, and beside it the lines it then has: for tests without a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpfilter import Family, parse_saved
from bpfilter.compiler.bulk import compile_bulk
from bpfilter.compiler.cells import CELL, CELLS_MAP, Cell, Op
from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.compiler.edit import Added, Removed, editor
from bpfilter.compiler.edit_layout import ChainLayout, IndexLayout, Layout
from bpfilter.compiler.index.search import INDEX_MAP
from bpfilter.compiler.target import Target
from bpfilter.rules.bulk import read_bulk
from bpfilter.rules.model import Rule, Table
from bpfilter.rules.options import RuleParser
from bpfilter.simulate.layouts import bundled_types
from bpfilter.source import Span

BASE = ("INPUT", "FORWARD", "OUTPUT")


def many(family: Family) -> list[str]:
    """Give enough rules of a chain for an index."""
    host, bits = ("10.0.0.{}", 32) if family is Family.IPV4 else ("2001:db8::{:x}", 128)
    return [f"-A FORWARD -s {host.format(number)}/{bits} -j DROP" for number in range(1, 101)]


class Editing:
    """Lines by chain, with their counters."""

    def __init__(
        self, own: Iterable[str], lines: Iterable[str], family: Family = Family.IPV4
    ) -> None:
        self.family = family
        self.names = (*BASE, *own)
        self.lines: dict[str, list[str]] = {name: [] for name in self.names}
        for line in lines:
            self.lines[line.split()[1]].append(line)
        tables = read_bulk(self.text(), "test", family)
        assert tables is not None
        made = compile_bulk(tables["filter"], Target(bundled_types(), cpus=4, hz=250))
        self.maps = {
            name: bytes(made.maps[name].contents or b"") for name in (CELLS_MAP, INDEX_MAP)
        }
        self.layout = made.layout
        keys = enumerate(made.counters, COUNTER_FIRST)
        of = {(key.chain, key.number): counter for counter, key in keys}
        self.policies = {name: of[name, 0] for name in BASE}
        self.counters = {
            name: [of[name, number] for number in range(1, len(lines) + 1)]
            for name, lines in self.lines.items()
        }
        self.unused = COUNTER_FIRST + len(made.counters)

    def text(self) -> str:
        heads = [f":{name} {'DROP' if name in BASE else '-'} [0:0]" for name in self.names]
        every = [line for lines in self.lines.values() for line in lines]
        return "\n".join(["*filter", *heads, *every, "COMMIT", ""])

    def table(self) -> Table:
        """Give the rules as they are now."""
        found = parse_saved(self.text(), "test", self.family).table("filter")
        assert found is not None
        return found

    def remove(self, chain: str, at: int) -> bool:
        line, counter = self.lines[chain][at], self.counters[chain][at]
        if not self._edit([Removed(chain, self._rule(line), counter)], []):
            return False
        del self.lines[chain][at], self.counters[chain][at]
        return True

    def add(self, line: str, at: int, counter: int = 0) -> bool:
        """Add a line; without a counter that is free it gets a new one."""
        chain = line.split()[1]
        after = self.counters[chain][at - 1] if at else None
        counter = counter or self.unused
        if not self._edit([], [Added(chain, self._rule(line), counter, after)]):
            return False
        self.lines[chain].insert(at, line)
        self.counters[chain].insert(at, counter)
        self.unused = max(self.unused, counter + 1)
        return True

    def cells(self) -> list[Cell]:
        """Give all cells."""
        found = CELL.iter_unpack(self.maps[CELLS_MAP])
        return [Cell(Op(op), *rest) for op, *rest in found]

    def kept(self) -> Layout:
        return Layout.of_bytes(self.layout)

    def chain(self, name: str) -> ChainLayout:
        """Give what is kept of a chain."""
        found = self.kept().chains.named(name)
        assert found is not None
        return found

    def index(self, name: str) -> IndexLayout:
        """Give what is kept of a chain's index."""
        found = self.chain(name).index
        assert found is not None
        return found

    def in_order(self) -> Iterator[int]:
        """Give the counters of policies, then of all rules, as compiling would number them."""
        yield from self.policies.values()
        for chain in self.table().chains:
            yield from self.counters[chain.name]

    def _rule(self, line: str) -> Rule:
        parser = RuleParser(self.family, "filter", self.names)
        command = parser.parse_line(line, Span("", 1, 1, len(line) + 1, line))
        assert command is not None
        return command.rules[0]

    def _edit(self, removed: list[Removed], added: list[Added]) -> bool:
        copies = {name: bytearray(data) for name, data in self.maps.items()}
        views = {name: memoryview(data) for name, data in copies.items()}
        made = editor().edit(views, self.layout, removed, added)
        if made is None:
            return False
        self.maps = {name: bytes(data) for name, data in copies.items()}
        self.layout = made.layout
        return True
