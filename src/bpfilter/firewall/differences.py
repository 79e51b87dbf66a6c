"""What differs between two texts of nearly the same lines, found by comparing bytes at speed.

Myers, "An O(ND) Difference Algorithm and Its Variations" (1986): stretches that are the same
are followed by comparing ever longer slices of lines, so that their length costs little.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from bpfilter.dataclass import dataclass
from bpfilter.firewall.stretch import Stretch, common


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines `gone`, from line `old` of the old text on, became `come`, from line `new` of the
    new one on, which is `offset` bytes into it."""

    old: int
    gone: list[bytes]
    new: int
    come: list[bytes]
    offset: int


def spliced(old: array[int], where: Sequence[Hunk], new: Sequence[int]) -> array[int]:
    """Give numbers of the new lines: of those that stayed the old ones, of others the new."""
    made = old[:0]
    at = taken = 0
    for hunk in where:
        made += old[at : hunk.old]
        made.extend(new[taken : taken + len(hunk.come)])
        at = hunk.old + len(hunk.gone)
        taken += len(hunk.come)
    return made + old[at:]


def hunks(old: Stretch, new: Stretch, most: int) -> list[Hunk] | None:
    """Give what differs, from the first line on; None if more than `most` lines went or came."""
    start, end = common(old, new)
    if start == len(old) == len(new):
        return []
    before = old.number(start)
    theirs = old.lines(start, len(old) - end)
    ours = new.lines(start, len(new) - end)
    steps = _steps(theirs, ours, most)
    if steps is None:
        return None
    found: list[Hunk] = []
    for x, y, went in steps:
        last = found[-1] if found else None
        at = (before + x, before + y)
        if last is None or at != (last.old + len(last.gone), last.new + len(last.come)):
            offset = start + sum(map(len, ours[:y])) + y
            last = Hunk(at[0], [], at[1], [], offset)
            found.append(last)
        if went:
            last.gone.append(theirs[x])
        else:
            last.come.append(ours[y])
    return found


# The shortest series of single lines that go or come: where in both, and whether it goes.
def _steps(old: list[bytes], new: list[bytes], most: int) -> list[tuple[int, int, bool]] | None:
    if abs(len(old) - len(new)) > most:
        return None
    reached = {1: 0}  # how far in `old`, by diagonal: how much further that is than in `new`
    trace = []
    for cost in range(most + 1):
        trace.append(dict(reached))
        for diagonal in range(-cost, cost + 1, 2):
            x = _next(reached, diagonal, cost)
            y = x - diagonal
            if x <= len(old) and y <= len(new):
                x += _same(old, new, x, y)
            reached[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return _walk_back(trace, len(old), len(new))
    return None


def _next(reached: dict[int, int], diagonal: int, cost: int) -> int:
    if diagonal == -cost or (diagonal != cost and reached[diagonal - 1] < reached[diagonal + 1]):
        return reached[diagonal + 1]
    return reached[diagonal - 1] + 1


def _walk_back(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int, bool]]:
    steps = []
    for cost in range(len(trace) - 1, 0, -1):
        reached = trace[cost]
        diagonal = x - y
        went = not (
            diagonal == -cost
            or (diagonal != cost and reached[diagonal - 1] < reached[diagonal + 1])
        )
        diagonal += -1 if went else 1
        x = reached[diagonal]
        y = x - diagonal
        steps.append((x, y, went))
    return steps[::-1]


# How many lines are the same from here on: in strides that double, then halve.
def _same(old: list[bytes], new: list[bytes], x: int, y: int) -> int:
    most = min(len(old) - x, len(new) - y)
    found, stride = 0, 1
    growing = True
    while stride and found < most:
        stride = min(stride, most - found)
        if old[x + found : x + found + stride] == new[y + found : y + found + stride]:
            found += stride
            stride = stride * 2 if growing else stride // 2
        else:
            growing = False
            stride //= 2
    return found
