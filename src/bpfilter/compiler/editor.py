"""Edit a table in the memory of its maps: a rule's cells, and its records in each view.

In a chain that is searched by an index, a new rule gets an order between those of its
neighbours, and cells behind all others. Rules that are walked are for walked.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bpfilter.compiler.cells import CELLS_MAP, Cell, Op
from bpfilter.compiler.counters import COUNTER_NONE
from bpfilter.compiler.edit import Added, Edited, Removed
from bpfilter.compiler.edit_layout import ChainLayout, IndexLayout, Layout
from bpfilter.compiler.index.edit import IndexEditor, Row
from bpfilter.compiler.index.layout import DESCRIPTOR_BYTES, VIEWS
from bpfilter.compiler.index.search import INDEX_MAP, VERDICT_COUNTER, verdict
from bpfilter.compiler.lower import check_target
from bpfilter.compiler.shapes import Box, Parts, Pattern, Recorded, box, pattern, split
from bpfilter.compiler.views import VIEW_NUMBERS
from bpfilter.compiler.walked import WalkedCells
from bpfilter.errors import RefusedError
from bpfilter.plan import fields
from bpfilter.rules.model import Hook, Jump, Rule, Verdict
from bpfilter.rules.shapes import Shape

if TYPE_CHECKING:
    from bpfilter.bpf.spec import ProgramSpec
    from bpfilter.compiler.target import Target


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
        return editing.done() if done else None


class _Editing:
    def __init__(self, memory: Mapping[str, memoryview], layout: Layout) -> None:
        self.layout = layout
        self.frame = layout.frame()
        places = self.frame.places
        doomed = places.get((fields.DOOMED.name, 0))
        self.recorded = Recorded(layout.keys, layout.compared, places)
        self.walked = WalkedCells(
            memory[CELLS_MAP],
            layout.used,
            layout.cells,
            layout.first_counter,
            doomed.slot if doomed else None,
        )
        self.index_memory = memory[INDEX_MAP]
        self.key = self.recorded.words()
        self.index = IndexEditor(self.index_memory, self.key, layout.tuples)

    def done(self) -> Edited:
        self.layout.used = self.walked.used
        return Edited(self.layout.to_bytes(), self.walked.used)

    def remove(self, gone: Removed) -> bool:
        chain = self.layout.chains.named(gone.chain)
        if chain is None or gone.counter == chain.last:
            return False
        order = chain.index.order(gone.counter) if chain.index else 0
        if chain.index:
            chain.index.added.pop(gone.counter, None)
        if not (chain.index and order):
            return self.walked.remove(chain.start, gone.counter)
        parts = self._parts(gone.rule, chain)
        views = None if parts is None else self._views(chain.index, parts)
        return views is not None and all(
            self.index.remove(at, self._row(seen, order, 0)) for at, seen, _ in views if seen
        )

    def add(self, new: Added) -> bool:
        chain = self.layout.chains.named(new.chain)
        parts = None if chain is None else self._parts(new.rule, chain)
        made = None if chain is None or parts is None else self._made(chain, parts, new.counter)
        if chain is None or parts is None or made is None:
            return False
        order = chain.index.order(new.after) if chain.index and new.after is not None else 0
        if chain.index is None or not order:
            place = self.walked.behind(chain.start, new.after)
            if place is None:
                return False
            if chain.index is None or not self.walked.finds(place):
                if chain.index:
                    chain.index.added[new.counter] = 0
                return self.walked.insert(place, made.cells)
        return self._insert(chain.index, parts, made, order, new.counter)

    # None if a rule may not be in a chain, or if the programs do not read all that it asks.
    def _parts(self, rule: Rule, chain: ChainLayout) -> Parts | None:
        check_target(rule)
        for match in rule.matches:
            if match.chains() and not {*chain.hooks}.issubset(match.chains()):
                return None
        parts = split(Shape(rule, chain.name, frozenset()), self.layout.family)
        read = [set(self.layout.words[hook]) for hook in chain.hooks]
        return parts if all(parts.words <= words for words in read) else None

    # The cells of a rule; None if it may not lead where it does.
    def _made(self, chain: ChainLayout, parts: Parts, counter: int) -> Pattern | None:
        made = pattern(parts, self.frame, self.layout.family, self.recorded)
        made.cells[made.counts].lo = counter
        target = parts.shape.rule.target
        if isinstance(target, Jump):
            called = self.layout.calls(chain, target.chain, target.goto)
            if called is None:
                return None
            made.cells[made.acts].hi = called.start
        return made

    # Behind the rule of some order.
    def _insert(
        self, index: IndexLayout, parts: Parts, made: Pattern, behind: int, counter: int
    ) -> bool:
        order = index.between(behind)
        views = None if order is None else self._views(index, parts)
        if order is None or views is None:
            return False
        starts = self._write(index, parts, made, order, counter)
        if starts is None:
            return False
        index.added[counter] = order
        normal, guarded = starts
        for at, seen, view in views:
            if seen is None:
                continue
            dooms = seen.dooms and seen.whole
            pc = verdict(False, COUNTER_NONE) if dooms else guarded if view else normal
            if not self.index.insert(at, self._row(seen, order, pc)):
                return False
        return True

    # For each index of a chain: where its descriptor is, a rule's box, a view of it. None if
    # views that share an index would have to be told apart from now on.
    def _views(self, index: IndexLayout, parts: Parts) -> list[tuple[int, Box | None, int]] | None:
        found: dict[bytes, tuple[int, Box | None, int]] = {}
        for view in range(VIEWS):
            number = view if view in VIEW_NUMBERS else 0
            at = index.descriptors + view * DESCRIPTOR_BYTES
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
        self, index: IndexLayout, parts: Parts, made: Pattern, order: int, counter: int
    ) -> tuple[int, int] | None:
        normal = box(parts, 0, self.layout.family, self.recorded)
        whole = normal is not None and normal.whole
        target = parts.shape.rule.target
        is_verdict = target in (Verdict("ACCEPT"), Verdict("DROP"))
        if whole and is_verdict and counter <= VERDICT_COUNTER:
            pc = verdict(target == Verdict("ACCEPT"), counter)
            return pc, pc
        cells = [made.cells[made.acts]] if whole else list(made.cells)
        if not (whole and parts.is_terminal):
            cells.append(Cell(Op.FIND, lo=order + 1, hi=index.descriptors))
        start = self.walked.append(cells)
        if start is None:
            return None
        return (start, start) if whole else (start + made.skip, start + made.skip_to_guard)
