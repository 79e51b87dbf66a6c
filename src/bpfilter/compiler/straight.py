"""Small tables as straight-line code: each cell a few instructions, with its numbers in them.

What takes the loop 3 ns takes less than 1 this way; but the verifier walks every cell, and
other rules are another program. Chains are laid out once for each rule that jumps to them,
so that there is nothing to remember.

Registers: R7 is 1, R8 the bytes of the packet, R9 the counters of this CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from bpfilter.asm.insn import R0, R1, R7, R8, R9, R10, U32, Size
from bpfilter.compiler import frame
from bpfilter.compiler.cells import Cell, Op
from bpfilter.compiler.counters import COUNTER_BYTES, COUNTER_NONE, COUNTERS_MAP
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.loop import NF_ACCEPT, NF_DROP
from bpfilter.compiler.lower import Lowered, lay_out
from bpfilter.compiler.prologue import Prologue
from bpfilter.dataclass import replace
from bpfilter.plan.fields import GUARD_DROP
from bpfilter.rules.model import Jump

#: With more cells the loop evaluates them; so many take 60 ms to compile and verify.
MOST_CELLS = 1024
MOST_CHAINS = 128

_VERDICTS = {Op.ACCEPT: NF_ACCEPT, Op.DROP: NF_DROP}


def lay_out_straight(lowered: Lowered, layout: Frame) -> tuple[Cell, ...]:
    """Give cells to make code of, the first ones the entries of the hooks; none if they would
    be too many, or search lists, which takes a loop."""
    if len(lowered.chains) > MOST_CHAINS or _rules_laid_out(lowered) > MOST_CELLS:
        return ()
    cells = lay_out(lowered, replace(layout, returns=0))
    if len(cells) > MOST_CELLS or any(cell.op > Op.ENTRY for cell in cells):
        return ()
    return tuple(cells)


def _rules_laid_out(lowered: Lowered) -> int:
    @cache
    def rules(chain: str) -> int:
        targets = (rule.rule.target for rule in lowered.chains[chain])
        inner = sum(rules(target.chain) for target in targets if isinstance(target, Jump))
        return min(len(lowered.chains[chain]) + inner, MOST_CELLS + 1)

    return sum(rules(hook.name) for hook in lowered.words)


def emit_straight(p: Prologue, cells: Sequence[Cell], counters: int) -> None:
    """Emit the cells of a hook, up to `exit`; a packet to drop uncounted goes to `drop`.

    `counters` are those of one CPU.
    """
    b = p.b
    b.load(R1, R10, p.frame.offset(frame.COUNTERS), Size.W)
    b.jgt(R1, (p.target.cpus - 1) * counters, "drop")
    b.lsh(R1, COUNTER_BYTES.bit_length() - 1)
    b.load_map_value(R9, COUNTERS_MAP)
    b.add(R9, R1)
    b.load(R8, R10, p.frame.offset(frame.BYTES))
    b.mov(R7, 1)
    _Emitter(p, cells).run()


class _Emitter:
    def __init__(self, p: Prologue, cells: Sequence[Cell]) -> None:
        self.p = p
        self.b = p.b
        self.cells = cells
        self.entry = cells[p.hook]

    def run(self) -> None:
        for index in self._reached():
            self.b.label(_label(index))
            cell = self.cells[index]
            if cell.op in (Op.TEST_JUMP_IF, Op.TEST_JUMP_UNLESS):
                self._test(index, cell)
            elif cell.op in (Op.GUARD, Op.LATE_GUARD):
                self._guard(index, cell)
            else:
                self._act(cell)

    def _reached(self) -> list[int]:
        # The verifier refuses what nothing leads to.
        found, todo = {self.entry.lo}, [self.entry.lo]
        while todo:
            for after in self._after(todo.pop()):
                if after not in found:
                    found.add(after)
                    todo.append(after)
        return sorted(found)

    def _after(self, index: int) -> list[int]:
        cell = self.cells[index]
        if cell.op in _VERDICTS:
            return []
        if cell.op is Op.GOTO:
            return [cell.hi]
        if cell.op is Op.RETURN:
            return [self.entry.hi]
        if cell.op is Op.CONTINUE:
            return [index + 1]
        jumps = None if cell.op in (Op.GUARD, Op.LATE_GUARD) else _always_jumps(cell)
        ways = ((False, index + 1), (True, index + cell.jump))
        return [after for taken, after in ways if jumps in (None, taken)]

    def _test(self, index: int, cell: Cell) -> None:
        b = self.b
        here, there = _label(index + 1), _label(index + cell.jump)
        jumps = _always_jumps(cell)
        if jumps is not None:
            if jumps:
                b.jump(there)
            return
        self._load(cell)
        low, high = cell.lo, min(cell.hi, cell.mask)
        if cell.op is Op.TEST_JUMP_UNLESS:
            if low == high:
                b.jne32(R0, low, there)
                return
            if low > 0:
                b.jlt32(R0, low, there)
            if high < cell.mask:
                b.jgt32(R0, high, there)
        elif low == high:
            b.jeq32(R0, low, there)
        else:
            if low > 0:
                b.jlt32(R0, low, here)
            b.jle32(R0, high, there)

    def _guard(self, index: int, cell: Cell) -> None:
        b = self.b
        here, there = _label(index + 1), _label(index + cell.jump)
        self._load(cell)
        b.jeq32(R0, 0, here)
        if cell.op is Op.GUARD:
            b.jne32(R0, cell.lo, "drop")
            b.jump(there)
        else:
            b.jeq32(R0, cell.lo, there)
            b.mov(R1, GUARD_DROP)
            self.p.store_word(cell.hi, R1)

    def _act(self, cell: Cell) -> None:
        b = self.b
        if cell.lo != COUNTER_NONE:
            b.atomic_add(R9, cell.lo * COUNTER_BYTES, R7)
            b.atomic_add(R9, cell.lo * COUNTER_BYTES + 8, R8)
        if cell.op in _VERDICTS:
            b.mov(R0, _VERDICTS[cell.op])
            b.exit()
        elif cell.op is not Op.CONTINUE:
            b.jump(_label(cell.hi if cell.op is Op.GOTO else self.entry.hi))

    def _load(self, cell: Cell) -> None:
        self.p.load_word(cell.slot, R0)
        if cell.mask != U32:
            self.b.and32(R0, cell.mask)


def _label(index: int) -> str:
    return f"cell{index}"


def _always_jumps(cell: Cell) -> bool | None:
    # None if that depends on the packet.
    if cell.lo > min(cell.hi, cell.mask):
        return cell.op is Op.TEST_JUMP_UNLESS
    if cell.lo == 0 and cell.hi >= cell.mask:
        return cell.op is Op.TEST_JUMP_IF
    return None
