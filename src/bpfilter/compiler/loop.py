"""The fixed loop that evaluates cells: the same instructions for any number of rules.

The verifier walks the body once or twice, whatever the rules are (steps.py). Everything
read from a cell is bounded before use; what is out of bounds ends the loop with the
verdict NF_DROP.

Registers: R6 the index of the cell, R7 the cell, R8 return points held. While an index is
searched R6, R7 and R9 are that search's (index/emit.py).
"""

from __future__ import annotations

from bpfilter.asm.build import Builder
from bpfilter.asm.insn import R0, R1, R2, R3, R4, R5, R6, R7, R8, R10, Size
from bpfilter.compiler import frame
from bpfilter.compiler.cells import CELL_BYTES, CELLS_MAP, Op
from bpfilter.compiler.count import emit_count
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.index.emit import SearchEmitter
from bpfilter.compiler.index.search import Search
from bpfilter.compiler.search import emit_search, is_wanted
from bpfilter.compiler.steps import Steps
from bpfilter.dataclass import dataclass
from bpfilter.plan.fields import GUARD_DROP

NF_DROP = 0
NF_ACCEPT = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """What cells may name: packet words, cells, and counters of all CPUs."""

    words: int
    cells: int
    counters: int


def emit_loop(
    b: Builder,
    layout: Frame,
    bounds: Bounds,
    steps: Steps,
    search: Search | None,
    entry: int,
    aborted: str,
) -> None:
    """Emit the loop, from the cell `entry` of a hook to `exit`; `aborted` takes over when a
    packet needs more steps than there are."""
    b.load_map_value(R1, CELLS_MAP, entry * CELL_BYTES)
    b.load(R6, R1, 8, Size.W)
    b.load(R2, R1, 12, Size.W)
    b.store(R10, layout.offset(frame.UNDERFLOW), R2, Size.W)
    # The depth is 0, but read from the cell (here and at "underflow"): the verifier would
    # follow a known number through every depth, and every state of the return points.
    # Return points are stored in halves: whole ones it would remember as copies of R8.
    b.load(R8, R1, 4, Size.W)
    state = range(frame.SEARCH, frame.ENTRIES, 4) if search else ()
    for offset in (*state, *range(layout.return_points, layout.words, 4)):
        b.store(R10, layout.offset(offset), R8, Size.W)
    steps.begin()
    b.label("step")
    steps.step("exhausted", (R7,))
    _fetch(b, bounds.cells)
    _test(b, layout, bounds.words)
    _act(b, layout, bounds.counters, search is not None)
    if search:
        SearchEmitter(b, layout, search, steps).emit()
    if is_wanted(layout):
        emit_search(b, layout, bounds.words)
    _leave(b, steps, aborted)


def _fetch(b: Builder, cells: int) -> None:
    # R7 = &cells[R6], R5 = op
    b.jgt(R6, cells - 1, "drop_now")
    b.mov(R2, R6)
    b.lsh(R2, CELL_BYTES.bit_length() - 1)
    b.load_map_value(R7, CELLS_MAP)
    b.add(R7, R2)
    b.load(R5, R7, 0, Size.B)
    b.jgt(R5, Op.LATE_GUARD, "act")


def _test(b: Builder, layout: Frame, words: int) -> None:
    # R0 = word[slot] & mask
    b.load(R1, R7, 1, Size.B)
    b.jgt(R1, words - 1, "drop_now")
    b.lsh(R1, 2)
    b.add(R1, R10)
    b.load(R0, R1, layout.offset(layout.words), Size.W)
    b.load(R2, R7, 4, Size.W)
    b.and_(R0, R2)
    b.load(R3, R7, 8, Size.W)
    b.jge(R5, Op.GUARD, "guard")
    b.load(R4, R7, 12, Size.W)
    b.jlt(R0, R3, "outside")
    b.jgt(R0, R4, "outside")
    b.jeq(R5, Op.TEST_JUMP_IF, "branch")
    b.label("next")
    b.add(R6, 1)
    b.jump("step")
    b.label("outside")
    b.jne(R5, Op.TEST_JUMP_UNLESS, "next")
    b.label("branch")
    b.load(R1, R7, 2, Size.H)
    b.add(R6, R1)
    b.jump("step")
    b.label("guard")
    b.jeq(R0, 0, "next")
    b.jeq(R0, R3, "branch")
    b.jeq(R5, Op.GUARD, "drop_now")
    # A late guard marks the packet; a guard on the mark drops it when the rule is done.
    b.load(R1, R7, 12, Size.W)
    b.jgt(R1, words - 1, "drop_now")
    b.lsh(R1, 2)
    b.add(R1, R10)
    b.store(R1, layout.offset(layout.words), GUARD_DROP, Size.W)
    b.jump("next")


def _act(b: Builder, layout: Frame, counters: int, finds: bool) -> None:
    b.label("act")
    if finds:
        b.jeq(R5, Op.FIND, "find")
    if is_wanted(layout):
        b.jgt(R5, Op.ENTRY, "search_list")
    b.load(R3, R7, 8, Size.W)
    emit_count(b, layout, counters)
    b.jeq(R5, Op.CONTINUE, "next")
    b.jeq(R5, Op.DROP, "drop_now")
    b.jeq(R5, Op.ACCEPT, "accept_now")
    b.mov(R1, R6)
    b.load(R6, R7, 12, Size.W)
    b.jeq(R5, Op.GOTO, "step")
    b.jeq(R5, Op.JUMP, "push")
    b.jne(R5, Op.RETURN, "drop_now")
    # RETURN: pop, or the policy when nothing is held
    b.load(R6, R10, layout.offset(frame.UNDERFLOW), Size.W)
    b.jeq(R8, 0, "underflow")
    b.sub(R8, 1)
    b.jgt(R8, layout.returns - 1, "drop_now")
    b.mov(R2, R8)
    b.lsh(R2, 2)
    b.add(R2, R10)
    b.load(R6, R2, layout.offset(layout.return_points), Size.W)
    b.jump("step")
    b.label("underflow")
    b.load(R8, R7, 4, Size.W)
    b.jump("step")
    b.label("push")
    b.jgt(R8, layout.returns - 1, "drop_now")
    b.add(R1, 1)
    b.mov(R2, R8)
    b.lsh(R2, 2)
    b.add(R2, R10)
    b.store(R2, layout.offset(layout.return_points), R1, Size.W)
    b.add(R8, 1)
    b.jump("step")


def _leave(b: Builder, steps: Steps, aborted: str) -> None:
    b.label("exhausted")
    steps.end()
    b.jump(aborted)
    for label, verdict in (("accept_now", NF_ACCEPT), ("drop_now", NF_DROP)):
        b.label(label)
        steps.end()
        b.mov(R0, verdict)
        b.exit()
