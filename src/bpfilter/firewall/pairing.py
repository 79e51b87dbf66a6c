"""Which of two series are the same: the first with the first that is equal, and so on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

#: Of what has no equal.
NONE = -1


def pair(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[int]:
    """Give for each of `new` the index of the one of `old` that is the same, or NONE: of
    several, the first for the first, and so on."""
    last = len(old) - 1
    waiting = dict(zip(reversed(old), range(last, -1, -1), strict=True))
    if len(waiting) == len(old):
        return [waiting.pop(each, NONE) for each in new]
    several: dict[Hashable, list[int]] = {}
    for index in range(last, -1, -1):
        several.setdefault(old[index], []).append(index)
    nobody: list[int] = []
    return [indexes.pop() if (indexes := several.get(each, nobody)) else NONE for each in new]


def left_over(source: Sequence[int], old: int) -> tuple[list[int], list[int]]:
    """Give the indexes of those in which `pair` found no equal: of so many old ones, of new."""
    without = [index for index, found in enumerate(source) if found == NONE]
    return sorted(set(range(old)).difference(source)) if without else [], without
