"""What is kept of a compiled table beside its maps, so that rules can be changed in them.

Lines of JSON: one of the table, then one for each chain that a hook leads to. There may be
very many chains, of which an edit reads and writes those it has to do with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.compiler.frame import Frame, lay_out_frame
from bpfilter.compiler.index.layout import ORDER_NONE, Tuple
from bpfilter.compiler.index.search import Search
from bpfilter.compiler.views import place_guards
from bpfilter.dataclass import dataclass
from bpfilter.plan import fields
from bpfilter.rules.model import Family, Hook

if TYPE_CHECKING:
    from bpfilter.compiler.build import Code
    from bpfilter.compiler.target import Target


@dataclass(slots=True)
class IndexLayout:
    """Where a chain's index is: its descriptors, and the orders of the `rows` rules from
    counter `first` on, `step` apart. `added` are orders of other rules by their counters; 0 is
    that of rules in front of the index."""

    descriptors: int
    first: int
    rows: int
    step: int
    added: dict[int, int]

    def order(self, counter: int) -> int:
        """Give a rule's order; 0 if it is not in the index."""
        if counter in self.added:
            return self.added[counter]
        number = counter - self.first
        return (number + 1) * self.step if 0 <= number < self.rows else 0

    def between(self, lowest: int) -> int | None:
        """Give an order behind one and before the next that may be in use."""
        following = [order for order in sorted(self.added.values()) if order > lowest]
        regular = (lowest // self.step + 1) * self.step
        if regular <= self.rows * self.step:
            following.append(regular)
        highest = min(following, default=min(lowest + 2 * self.step, ORDER_NONE))
        order = (lowest + highest) // 2
        return order if lowest < order < highest else None

    def to_json(self) -> str:
        fixed = self.descriptors, self.first, self.rows, self.step
        return json.dumps([*fixed, list(self.added.items())])

    @classmethod
    def of_json(cls, raw: list[Any]) -> IndexLayout:
        descriptors, first, rows, step, added = raw
        return cls(descriptors, first, rows, step, dict(added))


@dataclass(slots=True)
class ChainLayout:
    """A chain that a hook leads to; `start` is its first cell, by which others name it.

    `hooks` lead to it, with `depth` return points held at most, and it leads to others by
    `jumps` and `gotos`: at least; what has led somewhere may still be said to. No packet gets
    past the rule that counts in `last`, and what is behind it has no cells.
    """

    start: int
    name: str
    hooks: tuple[str, ...]
    depth: int
    last: int
    jumps: list[int]
    gotos: list[int]
    index: IndexLayout | None

    def to_line(self) -> str:
        index = self.index.to_json() if self.index else "null"
        return (
            f"[{self.start}, {quoted(self.name)}, {quoted(' '.join(self.hooks))}, {self.depth}, "
            f"{self.last}, {self.jumps}, {self.gotos}, {index}]"
        )

    @classmethod
    def of_line(cls, line: bytes) -> ChainLayout:
        start, name, hooks, depth, last, jumps, gotos, index = json.loads(line)
        found = IndexLayout.of_json(index) if index else None
        return cls(start, name, tuple(hooks.split()), depth, last, jumps, gotos, found)


class Chains:
    """Chains by name and by start; those that were given out are written as they then are."""

    def __init__(self, lines: bytes) -> None:
        self._lines = lines
        self._read: dict[int, ChainLayout] = {}  # by where its line begins

    @classmethod
    def of(cls, chains: Iterable[ChainLayout]) -> Chains:
        return cls("".join([f"\n{chain.to_line()}" for chain in chains]).encode())

    def named(self, name: str) -> ChainLayout | None:
        """Give a chain, None if no hook leads to it."""
        return self._found(b", %b, " % quoted(name).encode())

    def at(self, start: int) -> ChainLayout:
        found = self._found(b"\n[%d, " % start)
        assert found is not None
        return found

    def _found(self, part: bytes) -> ChainLayout | None:
        at = self._lines.find(part)
        if at < 0:
            return None
        at = self._lines.rfind(b"\n", 0, at + 1) + 1
        if at not in self._read:
            self._read[at] = ChainLayout.of_line(self._lines[at : self._end(at)])
        return self._read[at]

    def _end(self, at: int) -> int:
        end = self._lines.find(b"\n", at)
        return len(self._lines) if end < 0 else end

    def to_bytes(self) -> bytes:
        parts = []
        done = 0
        for at, chain in sorted(self._read.items()):
            parts += [self._lines[done:at], chain.to_line().encode()]
            done = self._end(at)
        return b"".join([*parts, self._lines[done:]])


@dataclass(slots=True)
class Layout:
    """A compiled table."""

    family: Family
    words: dict[str, list[tuple[str, int]]]  # by hook
    depth: int
    searching: list[str]
    counters: int  # of one CPU
    keys: tuple[int, ...]
    compared: tuple[int, ...]
    tuples: tuple[Tuple, ...]
    index: dict[str, int]  # size, bit_numbers, forms, kinds
    cells: int  # in the map
    used: int
    chains: Chains

    def to_bytes(self) -> bytes:
        plain = {name: getattr(self, name) for name in _PLAIN}
        plain["tuples"] = [
            (each.masks, each.window_word, each.window_shift) for each in self.tuples
        ]
        return json.dumps(plain).encode() + self.chains.to_bytes()

    @classmethod
    def of_bytes(cls, data: bytes) -> Layout:
        end = data.find(b"\n")
        raw: dict[str, Any] = json.loads(data[:end])
        raw["family"] = Family(raw["family"])
        raw["words"] = {
            hook: [(name, word) for name, word in each] for hook, each in raw["words"].items()
        }
        raw["keys"], raw["compared"] = tuple(raw["keys"]), tuple(raw["compared"])
        raw["tuples"] = tuple(Tuple(tuple(masks), *window) for masks, *window in raw["tuples"])
        return cls(**raw, chains=Chains(data[end:]))

    @property
    def first_counter(self) -> int:
        """Give the first one that can be a rule's."""
        return COUNTER_FIRST + len(self.words)

    def frame(self) -> Frame:
        everything = frozenset(word for words in self.words.values() for word in words)
        return lay_out_frame(everything, self.family, self.depth, searches=True)

    def code(self, target: Target) -> Code:
        """Give what the programs are emitted from."""
        from bpfilter.compiler.build import Code  # few edits make programs

        frame = self.frame()
        places = frame.places
        search = Search(
            size=self.index["size"],
            counters=self.counters * target.cpus,
            bit_numbers=self.index["bit_numbers"],
            forms=self.index["forms"],
            kinds=self.index["kinds"],
            keys=self.keys,
            compared=self.compared,
            sport=places.get((fields.SPORT.name, 0)),
            dport=places.get((fields.DPORT.name, 0)),
            proto=places.get((fields.PROTO.name, 0)),
            guards=place_guards(frame, self.family),
            tuples=self.tuples,
        )
        return Code(
            self.family,
            frame,
            {Hook[hook]: frozenset(words) for hook, words in self.words.items()},
            self.counters,
            search,
            frozenset(Hook[hook] for hook in self.searching),
        )

    def calls(self, caller: ChainLayout, to: str, goto: bool) -> ChainLayout | None:
        """Give the chain that a rule of another one is to lead to.

        None if it has no cells, or could then be in a loop, hold more return points than there
        are, or be led to by another hook: what may stand in it depends on that.
        """
        called = self.chains.named(to)
        if called is None:
            return None
        known = caller.gotos if goto else caller.jumps
        if called.start in known:
            return called
        depth = caller.depth + (0 if goto else 1)
        is_new = not {*caller.hooks}.issubset(called.hooks) or self._leads(called, caller)
        if is_new or not self._deepen(called, depth, self.frame().returns):
            return None
        known.append(called.start)
        return called

    def _leads(self, chain: ChainLayout, to: ChainLayout) -> bool:
        found = {chain.start}
        todo = [chain]
        while todo:
            each = todo.pop()
            following = {*each.jumps, *each.gotos} - found
            found |= following
            todo += map(self.chains.at, following)
        return to.start in found

    def _deepen(self, chain: ChainLayout, depth: int, most: int) -> bool:
        if depth <= chain.depth:
            return True
        chain.depth = depth
        return depth <= most and all(
            self._deepen(self.chains.at(each), depth + pushed, most)
            for pushed, following in enumerate((chain.gotos, chain.jumps))
            for each in following
        )


_PLAIN = (
    *("family", "words", "depth", "searching", "counters"),
    *("keys", "compared", "index", "cells", "used"),
)
