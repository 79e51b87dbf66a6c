"""Lines that stay where they are, but take over the counter of another one.

Of several equal rules the first keeps the first one's counter, and so on (carry.py). If one of
them goes or comes, those behind it have another counter from then on: as if each of them had
been changed for itself.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator, Sequence

from bpfilter.firewall.differences import Hunk
from bpfilter.firewall.stretch import Stretch

#: Equals of so many lines are looked for in the text, line by line.
_FEW = 8


def with_equals(differ: Sequence[Hunk], old: Stretch, most: int) -> list[Hunk] | None:
    """Give what differs, with a hunk for each line of the old text that has another counter
    from then on; None if those are too many lines."""
    equals = _with_equals(differ, old)
    taken = (hunk for line in equals for hunk in _taking_over(differ, old, line))
    found = list(itertools.islice(taken, most + 1))
    if len(found) > most:
        return None
    return sorted([*differ, *found], key=lambda hunk: (hunk.old, hunk.new))


# The lines that went or came, and of which there may be others that stay.
def _with_equals(differ: Sequence[Hunk], old: Stretch) -> list[bytes]:
    gone = Counter(line for hunk in differ for line in hunk.gone)
    changed = dict.fromkeys([*gone, *(line for hunk in differ for line in hunk.come)])
    if len(changed) > _FEW:
        lines = Counter(old.lines(0, len(old)))
        return [line for line in changed if lines[line] > gone[line]]
    return [
        line for line in changed if old.text.count(line + b"\n", old.start, old.end) > gone[line]
    ]


# Those of a line's equals that stay, and are not the n-th one any more.
def _taking_over(differ: Sequence[Hunk], old: Stretch, line: bytes) -> Iterator[Hunk]:
    todo = deque(differ)
    after = lines = size = 0
    for before, (number, place) in enumerate(_places(old, line)):
        while todo and todo[0].old + len(todo[0].gone) <= number:
            hunk = todo.popleft()
            after += hunk.come.count(line)
            lines += len(hunk.come) - len(hunk.gone)
            size += _size(hunk.come) - _size(hunk.gone)
        if todo and todo[0].old <= number:
            continue  # it goes
        if before != after:
            yield Hunk(number, [line], number + lines, [line], place + size)
        after += 1


# Where a line is: its number, and its place.
def _places(body: Stretch, line: bytes) -> Iterator[tuple[int, int]]:
    number = last = 0
    at = body.start - 1  # the head ends with a newline, too
    while (at := body.text.find(b"\n%b\n" % line, at, body.end)) >= 0:
        at += 1
        place = at - body.start
        number += body.number(place, since=last)
        last = place
        yield number, place


def _size(lines: Sequence[bytes]) -> int:
    return sum(len(line) + 1 for line in lines)
