"""Large table → programs and maps: what `compile_table` does, without an object for each rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, overload

import numpy as np

from bpfilter.compiler.build import Code, Compiled, assemble, refuse
from bpfilter.compiler.bulk_layout import BulkLayout, Ints, live_rows
from bpfilter.compiler.cells import CELL_BYTES
from bpfilter.compiler.counters import COUNTER_FIRST, COUNTER_NONE
from bpfilter.compiler.edit_layout import ChainLayout, Chains, IndexLayout, Layout
from bpfilter.compiler.frame import Frame, lay_out_frame
from bpfilter.compiler.lower import CounterKey, check_target, depths
from bpfilter.compiler.shapes import Parts, split
from bpfilter.compiler.target import Target
from bpfilter.errors import BuildError, RefusedError, UnsupportedError
from bpfilter.rules.bulk import BulkTable
from bpfilter.rules.distinct import distinct, distinct_rows
from bpfilter.rules.model import Family, Hook, Jump, Table

#: Where each chain leads to, and how many return points that takes.
_Edges: TypeAlias = dict[int, set[tuple[int, int]]]

#: Room for edits: so many rules, and one more for each so many.
SPARE = 64


class BulkCounters(Sequence[CounterKey]):
    """What counters belong to, worked out for the one that is asked for."""

    def __init__(self, bulk: BulkTable) -> None:
        self.bulk = bulk
        self.policies = [chain.name for chain in bulk.chains if chain.policy is not None]

    def __len__(self) -> int:
        return len(self.policies) + len(self.bulk)

    @overload
    def __getitem__(self, index: int) -> CounterKey: ...
    @overload
    def __getitem__(self, index: slice) -> list[CounterKey]: ...
    def __getitem__(self, index: int | slice) -> CounterKey | list[CounterKey]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < len(self.policies):
            return CounterKey(self.policies[index], 0)
        row = index - len(self.policies)
        chain = int(np.searchsorted(self.bulk.starts, row, "right")) - 1
        return CounterKey(self.bulk.chains[chain].name, row - int(self.bulk.starts[chain]) + 1)


def compile_bulk(bulk: BulkTable, target: Target) -> Compiled:
    """Compile a large table; as `compile_table`, with which it shares all but the layout.

    Raises: also BuildError for what compile_table can do: chains nested deeper than there are
    return points, or more than an index can name.
    """
    shapes, refused = _split(bulk)
    refuse(refused)
    live = live_rows(bulk)
    edges = _edges(bulk, live)
    words: dict[Hook, frozenset[tuple[str, int]]] = {}
    reached: dict[int, None] = {}
    leads_to: dict[Hook, set[int]] = {}
    used = [distinct(bulk.shape[start:end]) for start, end in zip(bulk.starts, live, strict=False)]
    for number, chain in enumerate(bulk.chains):
        if chain.policy is None:
            continue
        from_hook = _reach(number, edges)
        reached |= dict.fromkeys(from_hook)
        leads_to[Hook[chain.name]] = set(from_hook)
        asked = {int(shape) for each in from_hook for shape in used[each]}
        words[Hook[chain.name]] = frozenset[tuple[str, int]]().union(
            *(shapes[shape].words for shape in asked)
        )
    everything = frozenset[tuple[str, int]]().union(*words.values())
    depth_of = depths({chain: edges[chain] for chain in reached})
    depth = max(depth_of.values())
    frame = _frame(everything, bulk.family, depth)
    counters = BulkCounters(bulk)
    room = SPARE + len(counters) // SPARE  # for edits
    number = COUNTER_FIRST + len(counters) + room
    layout = BulkLayout(bulk, shapes, list(reached), frame, number * target.cpus)
    made = layout.run()
    searched = set(layout.searched)
    searching = frozenset(hook for hook, chains in leads_to.items() if searched & chains)
    cells = made.cells + bytes(4 * room * CELL_BYTES if made.search else 0)
    code = Code(bulk.family, frame, words, number, made.search, searching)
    return assemble(
        code,
        target,
        Table(bulk.name, bulk.chains),
        counters,
        [shape.rule for shape in bulk.shapes],
        cells,
        made.index,
        made.chains,
        used=layout.number,
        layout=_kept(code, layout, leads_to, edges, depth_of, len(cells) // CELL_BYTES),
    )


# With room for a search; without, if the rules test too many words or nest too deep for that.
def _frame(words: frozenset[tuple[str, int]], family: Family, depth: int) -> Frame:
    for searches in (True, False):
        try:
            frame = lay_out_frame(words, family, depth, searches=searches)
        except UnsupportedError:
            if not searches:
                raise
        else:
            if depth <= frame.returns:
                return frame
    raise BuildError(f"chains are nested {depth} deep, and {frame.returns} return points fit")


# What edits need to know; nothing without an index.
def _kept(
    code: Code,
    layout: BulkLayout,
    leads_to: dict[Hook, set[int]],
    edges: _Edges,
    depth_of: dict[int, int],
    cells: int,
) -> bytes:
    search = code.search
    if search is None:
        return b""
    return Layout(
        family=code.family,
        words={hook.name: sorted(words) for hook, words in code.words.items()},
        depth=max(depth_of.values()),
        searching=[hook.name for hook in code.searching],
        counters=code.counters,
        keys=search.keys,
        compared=search.compared,
        tuples=search.tuples,
        index={
            "size": search.size,
            "bit_numbers": search.bit_numbers,
            "forms": search.forms,
            "kinds": search.kinds,
        },
        cells=cells,
        used=layout.number,
        chains=Chains.of(_chain_layouts(layout, leads_to, edges, depth_of)),
    ).to_bytes()


# There may be very many.
def _chain_layouts(
    layout: BulkLayout,
    leads_to: dict[Hook, set[int]],
    edges: _Edges,
    depth_of: dict[int, int],
) -> Iterator[ChainLayout]:
    indexes = _index_layouts(layout)
    start, last = layout.chain_start.tolist(), _last(layout).tolist()
    hooks: dict[int, tuple[str, ...]] = {}
    for hook, reached in leads_to.items():
        name = hook.name
        for chain in reached:
            hooks[chain] = (*hooks.get(chain, ()), name)
    for chain in layout.reached:
        yield ChainLayout(
            start[chain],
            layout.bulk.chains[chain].name,
            hooks[chain],
            depth_of[chain],
            last[chain],
            [start[to] for to, pushes in edges[chain] if pushes],
            [start[to] for to, pushes in edges[chain] if not pushes],
            indexes.get(chain),
        )


def _index_layouts(layout: BulkLayout) -> dict[int, IndexLayout]:
    policies = sum(chain.policy is not None for chain in layout.bulk.chains)
    return {
        chain: IndexLayout(
            descriptors=layout.descriptors[chain],
            first=COUNTER_FIRST + policies + first,
            rows=int(layout.live[chain]) - first,
            step=int(layout.orders(chain)[0]),
            added={},
        )
        for chain, first in layout.front.items()
    }


# For each chain, the counter of the rule that no packet gets past, if there are others behind.
def _last(layout: BulkLayout) -> Ints:
    policies = sum(chain.policy is not None for chain in layout.bulk.chains)
    is_all = layout.live == layout.bulk.starts[1:]
    return np.where(is_all, COUNTER_NONE, COUNTER_FIRST + policies + layout.live - 1)


def _split(bulk: BulkTable) -> tuple[list[Parts], list[RefusedError]]:
    made: list[Parts] = []
    refused: list[RefusedError] = []
    for shape in bulk.shapes:
        try:
            check_target(shape.rule)
            made.append(split(shape, bulk.family))
        except RefusedError as error:
            span = error.span or shape.rule.span
            refused.append(RefusedError(error.message, span, error.hint))
    return made, refused


def _edges(bulk: BulkTable, live: Ints) -> _Edges:
    edges: _Edges = {chain: set() for chain in range(len(bulk.chains))}
    chain_of = np.repeat(np.arange(len(bulk.chains)), np.diff(bulk.starts))
    jumps = np.flatnonzero((bulk.jump >= 0) & (np.arange(len(bulk)) < live[chain_of]))
    pushes = np.array(
        [not (isinstance(s.rule.target, Jump) and s.rule.target.goto) for s in bulk.shapes], int
    )
    found = np.stack((chain_of[jumps], bulk.jump[jumps], pushes[bulk.shape[jumps]]), axis=1)
    for chain, to, pushed in distinct_rows(found).tolist() if len(found) else []:
        edges[chain].add((to, pushed))
    return edges


def _reach(start: int, edges: _Edges) -> list[int]:
    found, todo = {start: None}, [start]
    while todo:
        for to, _ in sorted(edges[todo.pop()]):
            if to not in found:
                found[to] = None
                todo.append(to)
    return list(found)
