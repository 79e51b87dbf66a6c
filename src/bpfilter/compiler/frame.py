"""The program's stack: what the loop needs, and the packet words rules test.

    fp-SIZE ─┐
        0  u64  iterator   struct bpf_iter_num, first of the prologue, then of the loop
        8  u32  underflow  cell of the hook's policy
       12  u32  counters   first counter of this CPU
       16  u64  bytes      skb->len, what iptables counts
       24  u32[10]  search     the search in a chain's index (index/emit.py), if there is one
       64  u64[16]  entries    those that it has gathered
      192  u32[returns]    return points; from 56 on if there is no search
           u32[]           packet words, in the order given by `Frame.slots`

All of it may not exceed 512 bytes (MAX_BPF_STACK, include/linux/filter.h), 16 of which are for
what may_goto counts (steps.py).
"""

from __future__ import annotations

from bpfilter.compiler.cells import Place
from bpfilter.dataclass import dataclass
from bpfilter.errors import UnsupportedError
from bpfilter.plan.fields import FIELDS
from bpfilter.rules.model import Family

ITERATOR = 0
UNDERFLOW = 8
COUNTERS = 12
BYTES = 16
SEARCH = 24
ENTRIES = 64
RETURNS, RETURNS_SEARCHING = 56, 192

# While the packet is read, the place of the search and the return points serves as scratch space.
SCRATCH_DYNPTR = 24  # struct bpf_dynptr, 16 bytes
SCRATCH_BUFFER = 40  # 40 bytes: the largest header read at once
SCRATCH_THOFF = 80  # u32: offset of the transport header
SCRATCH_FRAGOFF = 84  # u32: fragment offset as x_tables' par->fragoff

#: Return points there is always room for: reading the packet takes as much.
MIN_RETURNS = 8
MAX_FRAME = 496
MAX_WORDS, MAX_WORDS_SEARCHING = (
    (MAX_FRAME - start) // 4 - MIN_RETURNS for start in (RETURNS, RETURNS_SEARCHING)
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where every asked packet word lies; `size` is what the main program's stack takes."""

    slots: dict[tuple[str, int], int]
    places: dict[tuple[str, int], Place]
    returns: int = MIN_RETURNS
    searches: bool = False

    @property
    def return_points(self) -> int:
        """Give the member where return points begin."""
        return RETURNS_SEARCHING if self.searches else RETURNS

    @property
    def words(self) -> int:
        """Give the member where packet words begin."""
        return self.return_points + 4 * self.returns

    @property
    def size(self) -> int:
        return (self.words + 4 * max(len(self.slots), 1) + 7) // 8 * 8

    def offset(self, member: int) -> int:
        """Give the offset from the frame pointer of a member of the frame."""
        return member - self.size

    def word_offset(self, slot: int) -> int:
        return self.offset(self.words + 4 * slot)


def lay_out_frame(
    words: frozenset[tuple[str, int]], family: Family, depth: int = 0, *, searches: bool = False
) -> Frame:
    """Give each asked word a place; small fields that share a word share a slot.

    `depth` return points are wanted; there will be as many as fit, at least MIN_RETURNS. Programs
    that search an index have less room.

    Raises: UnsupportedError if the rules ask for more than the stack holds.
    """
    slots: dict[tuple[str, int], int] = {}
    places: dict[tuple[str, int], Place] = {}
    for name, word in sorted(words):
        field = FIELDS[name]
        shared = (field.pack, word)
        slot = slots.setdefault(shared, len(slots))
        places[name, word] = Place(slot, field.shift, field.bits)
    most = MAX_WORDS_SEARCHING if searches else MAX_WORDS
    if len(slots) > most:
        raise UnsupportedError(
            f"room for the {len(slots)} words of packet fields these {family.command} rules "
            f"test (the stack of a program holds {most})",
            advice="use fewer different matches in one table",
        )
    room = most - max(len(slots), 1) + MIN_RETURNS
    return Frame(slots, places, max(MIN_RETURNS, min(depth + 1, room) & ~1), searches)
