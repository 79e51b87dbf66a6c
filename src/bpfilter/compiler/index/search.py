"""What those who build, edit and search the indexes of a table agree on, beside their bytes."""

from __future__ import annotations

from bpfilter.compiler.cells import Place
from bpfilter.compiler.index.layout import RECORD_HEAD, U64, Tuple
from bpfilter.dataclass import dataclass

INDEX_MAP = "index"

#: Shifted left by the number of a bit, the upper six bits tell the number.
DE_BRUIJN = 0x03F79D71B4CB0A89
#: The numbers of bits by those six bits; the search reads them from the index.
BIT_NUMBERS = bytes(bit for _, bit in sorted(((DE_BRUIJN << n & U64) >> 58, n) for n in range(64)))

#: Bits of a record's pc that make it a verdict: what to count, and which of the two.
VERDICT = 1 << 23
VERDICT_ACCEPT = 1 << 22
VERDICT_COUNTER = (1 << 22) - 1


@dataclass(frozen=True, slots=True)
class Search:
    """What the search of a table's indexes needs to know of them, and of the packet's words.

    `keys` are the frame slots of the key words, `compared` those that records compare. The
    programs have the masks of `tuples` in their instructions. `guards` are the bits of the guards
    word that select a view, None if no rule has such guards.
    """

    size: int  # bytes of the index map
    counters: int  # of all CPUs
    bit_numbers: int  # offset of the numbers of bits in de Bruijn order
    forms: int  # offset of the forms of records
    kinds: int  # offset of their kinds
    keys: tuple[int, ...]
    compared: tuple[int, ...]
    sport: Place | None
    dport: Place | None
    proto: Place | None
    guards: Guards | None
    tuples: tuple[Tuple, ...]

    @property
    def record_bytes(self) -> int:
        return RECORD_HEAD.size + 4 * len(self.compared)


@dataclass(frozen=True, slots=True)
class Guards:
    """Frame slot of the guards word; masks of its 2-bit fields (see compiler/views.py)."""

    slot: int
    all: int
    walk_shift: int | None  # of proto_guard
    ports_shift: int | None
    specific: int


def verdict(accept: bool, counter: int) -> int:
    """Give the pc of a record whose rule ends the search, and of which nothing is unchecked."""
    return VERDICT | (VERDICT_ACCEPT if accept else 0) | counter


@dataclass(frozen=True, slots=True)
class ChainIndex:
    """How a chain is searched, as `status` shows it: `steps` is the most a packet costs."""

    chain: str
    rules: int
    in_front: int
    tuples: int
    steps: int
    bytes: int
