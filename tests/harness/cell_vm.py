"""Cells evaluated in plain Python: what the eBPF loop does, written a second time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bpfilter.compiler.cells import Cell, Op


def run_cells(
    cells: Sequence[Cell],
    words: Mapping[int, int],
    hook: int,
    lists: Mapping[int, Sequence[int]] = {},
) -> tuple[str, list[int]]:
    """Give the verdict and the counters counted in order; `words` are by slot, others 0.

    `lists` are by their first word's slot.
    """
    state = dict(words)
    pc, underflow = cells[hook].lo, cells[hook].hi
    stack: list[int] = []
    counted: list[int] = []
    while True:
        cell = cells[pc]
        if cell.op <= Op.LATE_GUARD:
            value = state.get(cell.slot, 0) & cell.mask
            if cell.op <= Op.TEST_JUMP_UNLESS:
                inside = cell.lo <= value <= cell.hi
                pc += cell.jump if inside is (cell.op is Op.TEST_JUMP_IF) else 1
            elif value == 0:
                pc += 1
            elif value == cell.lo:
                pc += cell.jump
            elif cell.op is Op.GUARD:
                return "DROP", counted
            else:
                state[cell.hi] = 2
                pc += 1
            continue
        if cell.op in (Op.SEARCH_JUMP_IF, Op.SEARCH_JUMP_UNLESS):
            found = any(cell.lo <= number <= cell.hi for number in lists[cell.slot])
            pc += cell.jump if found is (cell.op is Op.SEARCH_JUMP_IF) else 1
            continue
        counted.append(cell.lo)
        if cell.op in (Op.ACCEPT, Op.DROP):
            return cell.op.name, counted
        if cell.op is Op.RETURN:
            pc = stack.pop() if stack else underflow
        elif cell.op is Op.CONTINUE:
            pc += 1
        else:
            if cell.op is Op.JUMP:
                stack.append(pc + 1)
            pc = cell.hi
