"""Lines in a part of a large text, which is not copied to look at them."""

from __future__ import annotations

from bpfilter.dataclass import dataclass

#: Compared at a time: small enough to stay in a processor's cache.
_BLOCK_BYTES = 1 << 16
_NEWLINE = b"\n"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes from `start` to `end` of a text: whole lines. Places in it count from `start`."""

    text: bytes
    start: int
    end: int

    @classmethod
    def of(cls, text: bytes) -> Stretch:
        """Take all of a text."""
        return cls(text, 0, len(text))

    def __len__(self) -> int:
        return self.end - self.start

    def __bytes__(self) -> bytes:
        return self.text[self.start : self.end]

    def part(self, first: int, last: int) -> bytes:
        """Give the bytes between two places."""
        return self.text[self.start + first : self.start + last]

    def lines(self, first: int, last: int) -> list[bytes]:
        """Give the lines between two places, without newlines."""
        return self.part(first, last).split(_NEWLINE)[:-1]

    def number(self, place: int, since: int = 0) -> int:
        """Give how many lines there are before a place, or from one place to another."""
        return self.text.count(_NEWLINE, self.start + since, self.start + place)

    def is_start(self, place: int) -> bool:
        """Whether a line starts at a place."""
        return place == 0 or self.part(place - 1, place) == _NEWLINE


def common(old: Stretch, new: Stretch) -> tuple[int, int]:
    """Give how many bytes, whole lines, are the same at the start, and how many at the end."""
    same = _same(old, new, min(len(old), len(new)), backwards=False)
    if same == len(old) == len(new):
        return same, 0
    start = old.text.rfind(_NEWLINE, old.start, old.start + same) + 1 - old.start
    start = max(start, 0)
    end = _same(old, new, min(len(old), len(new)) - start, backwards=True)
    if end and not (old.is_start(len(old) - end) and new.is_start(len(new) - end)):
        end = old.end - 1 - old.text.find(_NEWLINE, old.end - end)
    return start, end


# How many of the first or last `most` bytes are the same: block by block, then by halving.
def _same(old: Stretch, new: Stretch, most: int, *, backwards: bool) -> int:
    def are_same(first: int, last: int) -> bool:
        if backwards:
            theirs = old.part(len(old) - last, len(old) - first)
            return theirs == new.part(len(new) - last, len(new) - first)
        return old.part(first, last) == new.part(first, last)

    low = 0
    while low < most and are_same(low, min(low + _BLOCK_BYTES, most)):
        low = min(low + _BLOCK_BYTES, most)
    high = min(low + _BLOCK_BYTES, most)
    while low < high:
        middle = (low + high + 1) // 2
        if are_same(low, middle):
            low = middle
        else:
            high = middle - 1
    return low
