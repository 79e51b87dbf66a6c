"""An editor of tables for tests of what is around it: rules of one kind, in cells one by one.

The table is compiled rule by rule, without an index. All rules drop a destination address,
so that their order means nothing: one that goes leaves its place, two cells, to one that
comes. Whatever else is asked of it is too much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from bpfilter.bpf.spec import ProgramSpec
from bpfilter.compiler.build import Compiled, compile_table
from bpfilter.compiler.cells import CELL, CELL_BYTES, CELLS_MAP, Cell, Op
from bpfilter.compiler.edit import Added, Edited, Removed
from bpfilter.compiler.target import Target
from bpfilter.dataclass import replace
from bpfilter.plan.nodes import U32
from bpfilter.rules.bulk import BulkTable
from bpfilter.rules.model import Chain, Hook, Rule, Table, Verdict

#: Counters to spare: of rules in a chain that nothing leads to.
ROOM = 3


class StubEditor:
    """`compile` takes the place of compile_bulk; the layout is where rules are not any more."""

    def __init__(self) -> None:
        self.compiled: Compiled | None = None
        self.edits = 0

    def compile(self, bulk: BulkTable, target: Target) -> Compiled:
        rows = iter(range(len(bulk)))
        sizes = bulk.starts[1:] - bulk.starts[:-1]
        chains = [
            replace(chain, rules=tuple(bulk.rule(next(rows)) for _ in range(size)))
            for chain, size in zip(bulk.chains, sizes.tolist(), strict=True)
        ]
        table = Table(bulk.name, (*chains, Chain("zz-room", ROOM * (Rule(),))))
        compiled = compile_table(table, bulk.family, target, straight=False)
        self.compiled = replace(compiled, layout=b"[]")
        return self.compiled

    def programs(self, layout: bytes, target: Target) -> dict[Hook, ProgramSpec]:
        assert self.compiled is not None
        return self.compiled.programs

    def edit(
        self,
        memory: Mapping[str, memoryview],
        layout: bytes,
        removed: Sequence[Removed],
        added: Sequence[Added],
    ) -> Edited | None:
        cells = memory[CELLS_MAP]
        free = json.loads(layout)
        for gone in removed:
            at = _place(cells, gone.counter)
            free.append([gone.chain, at, _cells(cells)[at - 1].slot])
            _write(cells, at - 1, Cell(Op.TEST_JUMP_UNLESS, 0, 2, U32, 1, 0))
            _write(cells, at, Cell(Op.DROP))
        for come in added:
            place = next((place for place in free if place[0] == come.chain), None)
            if place is None or come.rule.destination is None:
                return None
            assert come.rule.target == Verdict("DROP")
            free.remove(place)
            _, at, slot = place
            word = int.from_bytes(come.rule.destination.value, "big")
            _write(cells, at - 1, Cell(Op.TEST_JUMP_UNLESS, slot, 2, U32, word, word))
            _write(cells, at, Cell(Op.DROP, lo=come.counter))
        self.edits += 1
        return Edited(json.dumps(free).encode(), len(cells) // CELL_BYTES)


def _cells(memory: memoryview) -> list[Cell]:
    whole = len(memory) // CELL_BYTES * CELL_BYTES
    return [Cell(Op(op), *rest) for op, *rest in CELL.iter_unpack(memory[:whole])]


def _place(memory: memoryview, counter: int) -> int:
    (at,) = (
        at for at, cell in enumerate(_cells(memory)) if (cell.op, cell.lo) == (Op.DROP, counter)
    )
    return at


def _write(memory: memoryview, at: int, cell: Cell) -> None:
    CELL.pack_into(
        memory, at * CELL_BYTES, cell.op, cell.slot, cell.jump, cell.mask, cell.lo, cell.hi
    )
