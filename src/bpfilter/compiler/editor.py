"""Edit a table in the memory of its maps: a rule's cells, and its records in each view.

Only chains that are searched by an index are edited, behind the rules in front of it. A new
rule gets an order between those of its neighbours, and cells behind all others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bpfilter.compiler.cells import CELL_BYTES, CELLS_MAP, Cell, Op
from bpfilter.compiler.counters import COUNTER_NONE
from bpfilter.compiler.edit import Added, Edited, Removed
from bpfilter.compiler.frame import Frame, lay_out_frame
from bpfilter.compiler.index.edit import IndexEditor, Row
from bpfilter.compiler.index.layout import (
    DESCRIPTOR_BYTES,
    ORDER_NONE,
    VIEWS,
    KeyWords,
    Tuple,
)
from bpfilter.compiler.index.search import INDEX_MAP, Search, verdict
from bpfilter.compiler.lower import check_target
from bpfilter.compiler.shapes import Box, Parts, Recorded, box, pattern, split
from bpfilter.compiler.views import VIEW_NUMBERS, place_guards
from bpfilter.dataclass import dataclass
from bpfilter.errors import RefusedError
from bpfilter.plan import fields
from bpfilter.rules.model import Family, Hook, Rule, Verdict
from bpfilter.rules.shapes import Shape

if TYPE_CHECKING:
    from bpfilter.bpf.spec import ProgramSpec
    from bpfilter.compiler.build import Code
    from bpfilter.compiler.target import Target


@dataclass(slots=True)
class ChainLayout:
    """A chain that is searched: descriptors, and the orders of the `rows` rules from counter
    `first` on, `step` apart. `added` are orders of other rules by their counters."""

    name: str
    descriptors: int
    first: int
    rows: int
    step: int
    in_front: int
    hooks: list[str]
    added: dict[int, int]

    def order(self, counter: int | None) -> int | None:
        """Give a rule's order; 0 for what stands right before all of them; None if unknown."""
        if counter is None:
            return None if self.in_front else 0
        if counter in self.added:
            return self.added[counter]
        number = counter - self.first
        if number == -1 and self.in_front:
            return 0
        return (number + 1) * self.step if 0 <= number < self.rows else None

    def between(self, lowest: int) -> int | None:
        """Give an order behind one and before the next that may be in use."""
        following = [order for order in sorted(self.added.values()) if order > lowest]
        regular = (lowest // self.step + 1) * self.step
        if regular <= self.rows * self.step:
            following.append(regular)
        highest = min(following, default=min(lowest + 2 * self.step, ORDER_NONE))
        order = (lowest + highest) // 2
        return order if lowest < order < highest else None


@dataclass(slots=True)
class Layout:
    """What is kept of a compiled table beside its maps; JSON holds it."""

    family: Family
    words: dict[str, list[tuple[str, int]]]  # by hook
    depth: int
    searching: list[str]
    counters: int  # of one CPU
    keys: tuple[int, ...]
    compared: tuple[int, ...]
    index: dict[str, int]  # size, bit_numbers, kinds
    tuples: tuple[Tuple, ...]
    cells: int  # in the map
    used: int
    chains: dict[str, ChainLayout]

    def to_bytes(self) -> bytes:
        plain = {name: getattr(self, name) for name in _PLAIN}
        chains = [
            {name: getattr(chain, name) for name in _CHAIN} for chain in self.chains.values()
        ]
        tuples = [(each.masks, each.window_word, each.window_shift) for each in self.tuples]
        return json.dumps(
            {**plain, "family": int(self.family), "chains": chains, "tuples": tuples}
        ).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> Layout:
        raw: dict[str, Any] = json.loads(data)
        chains = [
            ChainLayout(**{**each, "added": {int(k): v for k, v in each["added"].items()}})
            for each in raw["chains"]
        ]
        words = {
            hook: [(name, word) for name, word in each] for hook, each in raw["words"].items()
        }
        plain = {name: raw[name] for name in _PLAIN if name not in ("words", "keys", "compared")}
        return cls(
            family=Family(raw["family"]),
            words=words,
            keys=tuple(raw["keys"]),
            compared=tuple(raw["compared"]),
            tuples=tuple(Tuple(tuple(masks), word, by) for masks, word, by in raw["tuples"]),
            chains={chain.name: chain for chain in chains},
            **plain,
        )

    def frame(self) -> Frame:
        everything = frozenset(word for words in self.words.values() for word in words)
        return lay_out_frame(everything, self.family, self.depth)

    def code(self, target: Target) -> Code:
        """Give what the programs are emitted from."""
        from bpfilter.compiler.build import Code  # as for `programs`

        frame = self.frame()
        places = frame.places
        search = Search(
            size=self.index["size"],
            counters=self.counters * target.cpus,
            bit_numbers=self.index["bit_numbers"],
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


_PLAIN = ("words", "depth", "searching", "counters", "keys", "compared", "index", "cells", "used")
_CHAIN = ("name", "descriptors", "first", "rows", "step", "in_front", "hooks", "added")


class TableEditor:
    """The Editor of tables that compile_bulk made."""

    def programs(self, layout: bytes, target: Target) -> dict[Hook, ProgramSpec]:
        from bpfilter.compiler.build import program  # few edits make programs

        kept = Layout.of_bytes(layout)
        code = kept.code(target)
        return {hook: program(code, target, hook, kept.cells) for hook in code.words}

    def edit(
        self,
        memory: Mapping[str, memoryview],
        layout: bytes,
        removed: Sequence[Removed],
        added: Sequence[Added],
    ) -> Edited | None:
        editing = _Editing(memory, Layout.of_bytes(layout))
        try:
            done = all(map(editing.remove, removed)) and all(map(editing.add, added))
        except RefusedError:  # said when the whole is compiled
            return None
        return Edited(editing.layout.to_bytes(), editing.layout.used) if done else None


class _Editing:
    def __init__(self, memory: Mapping[str, memoryview], layout: Layout) -> None:
        self.layout = layout
        self.frame = layout.frame()
        self.recorded = Recorded(layout.keys, layout.compared, self.frame.places)
        self.cells = memory[CELLS_MAP]
        self.index_memory = memory[INDEX_MAP]
        ports = self.frame.places.get((fields.SPORT.name, 0)) or self.frame.places.get(
            (fields.DPORT.name, 0)
        )
        numbers = {slot: number for number, slot in enumerate(layout.keys)}
        self.key = KeyWords(
            len(numbers),
            tuple(numbers[slot] for slot in layout.compared),
            numbers.get(ports.slot) if ports else None,
            layout.keys,
        )
        self.index = IndexEditor(self.index_memory, self.key, layout.tuples)

    def remove(self, gone: Removed) -> bool:
        chain = self.layout.chains.get(gone.chain)
        order = None if chain is None else chain.order(gone.counter)
        if chain is None or not order:
            return False
        parts = self._parts(gone.rule, chain)
        views = None if parts is None else self._views(chain, parts)
        if views is None:
            return False
        chain.added.pop(gone.counter, None)
        return all(
            self.index.remove(at, self._row(seen, order, 0)) for at, seen, _ in views if seen
        )

    def add(self, new: Added) -> bool:
        chain = self.layout.chains.get(new.chain)
        behind = None if chain is None else chain.order(new.after)
        order = None if chain is None or behind is None else chain.between(behind)
        if chain is None or order is None:
            return False
        check_target(new.rule)
        parts = self._parts(new.rule, chain)
        views = None if parts is None else self._views(chain, parts)
        if parts is None or views is None:
            return False
        starts = self._write(chain, parts, order, new.counter)
        if starts is None:
            return False
        chain.added[new.counter] = order
        normal, guarded = starts
        for at, seen, view in views:
            if seen is None:
                continue
            dooms = seen.dooms and seen.whole
            pc = verdict(False, COUNTER_NONE) if dooms else guarded if view else normal
            if not self.index.insert(at, self._row(seen, order, pc)):
                return False
        return True

    # None if the programs do not read all that a rule asks.
    def _parts(self, rule: Rule, chain: ChainLayout) -> Parts | None:
        parts = split(Shape(rule, chain.name, frozenset()), self.layout.family)
        read = [set(self.layout.words[hook]) for hook in chain.hooks]
        return parts if all(parts.words <= words for words in read) else None

    # For each index of a chain: where its descriptor is, a rule's box, a view of it. None if
    # views that share an index would have to be told apart from now on.
    def _views(self, chain: ChainLayout, parts: Parts) -> list[tuple[int, Box | None, int]] | None:
        found: dict[bytes, tuple[int, Box | None, int]] = {}
        for view in range(VIEWS):
            number = view if view in VIEW_NUMBERS else 0
            at = chain.descriptors + view * DESCRIPTOR_BYTES
            seen = box(parts, number, self.layout.family, self.recorded)
            descriptor = bytes(self.index_memory[at : at + DESCRIPTOR_BYTES])
            if found.setdefault(descriptor, (at, seen, view))[1] != seen:
                return None
        return list(found.values())

    def _row(self, seen: Box, order: int, pc: int) -> Row:
        masks, values = [0] * self.key.count, [0] * self.key.count
        ports = {fields.SPORT: (0, 0xFFFF), fields.DPORT: (0, 0xFFFF)}
        proto = 0
        for test in seen.seen:
            place = self.recorded.place(test)
            if test.field is fields.PROTO:
                proto = test.lo
                continue
            if test.field in ports:
                ports[test.field] = test.lo, test.hi
            if self.recorded.is_exact(test) and place.slot in self.recorded.keys:
                key = self.recorded.keys.index(place.slot)
                mask, low, _ = place.test(test)
                masks[key] |= mask
                values[key] |= low
        return Row(order, pc, masks, values, ports[fields.SPORT], ports[fields.DPORT], proto)

    # Give where a rule's evaluation goes on, in the view of packets without a guard and in the
    # others. None if there is no room for its cells.
    def _write(
        self, chain: ChainLayout, parts: Parts, order: int, counter: int
    ) -> tuple[int, int] | None:
        each = pattern(parts, self.frame, self.layout.family, self.recorded)
        normal = box(parts, 0, self.layout.family, self.recorded)
        whole = normal is not None and normal.whole
        target = parts.shape.rule.target
        if whole and target in (Verdict("ACCEPT"), Verdict("DROP")):
            pc = verdict(target == Verdict("ACCEPT"), counter)
            return pc, pc
        cells = [each.cells[each.acts]] if whole else list(each.cells)
        cells[0 if whole else each.counts].lo = counter
        if not (whole and parts.is_terminal):
            cells.append(Cell(Op.FIND, lo=order + 1, hi=chain.descriptors))
        start, end = self.layout.used, self.layout.used + len(cells)
        if end > self.layout.cells:
            return None
        packed = b"".join(cell.pack() for cell in cells)
        self.cells[start * CELL_BYTES : end * CELL_BYTES] = packed
        self.layout.used = end
        return (start, start) if whole else (start + each.skip, start + each.skip_to_guard)
