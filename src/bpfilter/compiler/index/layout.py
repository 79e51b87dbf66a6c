"""The bytes of the index, as builder, search and edits know them.

All lies in one array map, in native byte order; offsets are in bytes from its start. A
chain is found through its *descriptor*, which has a *table* for each *tuple*:

    descriptor ── tables ── entries ─┬─ run     a few records, or one
                                     ├─ long run     a header, then records
                                     └─ cut ── entries ─ …     by a few bits of one word

*Key words* are up to KEY_WORDS_MAX words of a packet. A tuple is a mask for each of them, the
same for all chains; rules in its tables test at least those bits exactly.
`hash_words(word & mask) >> shift` is the entry. A *record* holds what is necessary for its rule
to match; records of a run are in ascending order. A *filter* is a set of the values that
FILTER_BITS bits of one word, the tuple's *window*, have in packets that some record of the run
may match. Numbers below are offsets in the structure.

Header (64 bytes, at 0; nothing in it is read by the search, but for the empty entries):
    0 u32 MAGIC | 4 u32 free: offset of the first free byte | 8 u32 size: end of the room for
    edits | 12, 24: of the kinds, of the forms: u32 offset | u32 number | u32 how many there is
    room for | 48 empty entries: those of tuples that a chain has no table for
Descriptor (64 bytes, 64-aligned; a chain has VIEWS in a row):
    0 u64 tuples that are in use, a set | 8 u32 end_pc | 12 u32 offset of tables | 16 u32 offset
    of hiders | 20 u32 number of hiders
Table (16 bytes; bit t of a set is tuple t, the t-th table):
    0 u32 offset of entries | 4 u32 shift | 8 u32 longest, steps one bucket may take: cuts and
    records
Entry (u64, 8-aligned): 0 empty, or
    0  count, 6 bits | unit, 26 bits: what the entry leads to is at offset unit * UNIT
    32 first, 16 bits: no record behind the entry has a lower order >> FIRST_SHIFT
    48 of a run in a table: its filter | of a cut: slot of the word, 7 bits | shift, 5 | bits, 4
    count 1..30: so many records | 31: a long run | 32: a cut, and at the unit entries, of which
    the next is that of `(word >> shift) & (2**bits - 1)`. A path has MAX_CUTS at most.
Long run: 8 bytes: 0 u32 number of records | 4 u32 the largest power of two that is not more;
    then the records.
Record (12 + 4 * R bytes), small, so that many of them fit the processor's caches:
    0 u32 order << 8 | kind >> 16 | 4 u32 pc << 8 | 8 u32 kind << 16 | form | 12 u32 value[R]
    of the R <= 3 key words that records compare.
Form (16 bytes): u32 mask[3] of these words. There are so few that they stay in the nearest
    cache; most records are ruled out by them.
Kind (16 bytes): what is asked of packets whose words are as they should be.
    0 u16 lowest, 2 u16 highest source port | 4 u16 lowest, 6 u16 highest destination port |
    8 u8 protocol, 0 is any | 9 7x
Hiders: u32 orders, ascending, of rules that others were left out for (edit.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bpfilter.dataclass import dataclass

KEY_WORDS_MAX = 12
TUPLES_MAX = 64
#: Tuples whose entries are gathered together.
BATCH = 16
#: Descriptors of a chain: what guards say of a packet selects one.
VIEWS = 12
#: Cuts on the way to a run.
MAX_CUTS = 4
#: Bits that one cut looks at.
CUT_BITS_MAX = 8

#: Odd 64-bit constants, one for each key word: SHA-256 of "bpfilter 0", "bpfilter 1"….
MULTIPLIERS = (
    0xB03ED45ADD82E489,
    0x78AD88DE14D6E843,
    0xEB618442C826E1E1,
    0xB1ACA687B69A4E19,
    0x269ECD9CECEEA89B,
    0x7963335DED1502D3,
    0xAFA7707A9C315175,
    0x58F8DF6F1DD5446B,
    0x76AB36952BF0D50D,
    0x3C5849168A8884EB,
    0x2036BD5FBF60B539,
    0x5D1424E8BF478441,
)
U64 = (1 << 64) - 1

MAGIC = 0x62706978
HEADER = struct.Struct("=IIIIIIIII28x")
DESCRIPTOR = struct.Struct("=QIIII40x")
SET = struct.Struct("=Q")
TABLE = struct.Struct("=III4x")
ENTRY = struct.Struct("=Q")
LONG_RUN = struct.Struct("=II")
RECORD_HEAD = struct.Struct("=III")
FORM = struct.Struct("=III4x")
KIND = struct.Struct("=HHHHB7x")

HEADER_BYTES = HEADER.size
DESCRIPTOR_BYTES = DESCRIPTOR.size
TABLE_BYTES = TABLE.size
ENTRY_BYTES = ENTRY.size
#: Where entries are that lead nowhere; `EMPTY_SHIFT` selects among two of them.
EMPTY, EMPTY_SHIFT = 48, 63
FORM_BYTES = FORM.size
KIND_BYTES = KIND.size
#: Words that records compare, at most.
COMPARED_MAX = 3
#: The number of a form has 16 bits, that of a kind 24.
FORMS_MAX, KINDS_MAX = 1 << 16, 1 << 24
#: What entries count in.
UNIT = 4
#: The number of a unit has 26 bits.
SIZE_MAX = UNIT << 26

#: Counts of an entry that are none; a cut has a bit of its own.
ENTRY_LONG = 31
ENTRY_CUT = 32
RUN_MAX = 30
#: Bits of an entry that count.
COUNT_BITS = 6
COUNT_MASK = (1 << COUNT_BITS) - 1
UNIT_BITS = 26
#: Where the upper parts of an entry are.
FIRST_AT, UPPER_AT = 32, 48
FIRST_MASK = 0xFFFF
#: Orders have 24 bits, of which an entry knows the upper ones.
FIRST_SHIFT = 8
#: Bits of the window that a filter is for: it has 2**4.
FILTER_BITS = 4
#: Parts of a cut's upper bits.
CUT_SLOT_BITS, CUT_SHIFT_BITS = 7, 5

#: Nothing found, and the order that none can have.
ORDER_NONE = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class KeyWords:
    """How many key words a program has, which of them records compare, and which is the word
    of ports (source << 16 | destination). `slots` are their places among a packet's words."""

    count: int
    compared: tuple[int, ...] = ()
    ports: int | None = None
    slots: tuple[int, ...] = ()

    @property
    def record_bytes(self) -> int:
        return RECORD_HEAD.size + 4 * len(self.compared)


class Pool(NamedTuple):
    """Structures of one size: where they are, how many, and how many there is room for."""

    offset: int
    number: int
    room: int


class Record(NamedTuple):
    """What is at the head of a record."""

    order: int
    pc: int
    form: int
    kind: int

    @classmethod
    def read(cls, memory: bytes | bytearray | memoryview, at: int) -> Record:
        order, pc, form = RECORD_HEAD.unpack_from(memory, at)
        return cls(order >> 8, pc >> 8, form & 0xFFFF, (order & 0xFF) << 16 | form >> 16)

    def pack(self) -> bytes:
        low = (self.kind & 0xFFFF) << 16 | self.form
        return RECORD_HEAD.pack(self.order << 8 | self.kind >> 16, self.pc << 8, low)


@dataclass(frozen=True, slots=True)
class Tuple:
    """The mask of each key word; and of which one, from which bit on, filters are."""

    masks: tuple[int, ...]
    window_word: int = 0
    window_shift: int = 0

    def window(self, words: Sequence[int]) -> int:
        """Give the value of the window in a packet."""
        return words[self.window_word] >> self.window_shift & (1 << FILTER_BITS) - 1


@dataclass(slots=True)
class Entry:
    """What an entry leads to; `upper` is a filter, or the parts of a cut."""

    count: int
    offset: int
    first: int
    upper: int

    @classmethod
    def read(cls, memory: bytes | bytearray | memoryview, at: int) -> Entry:
        (raw,) = ENTRY.unpack_from(memory, at)
        return cls(
            raw & COUNT_MASK,
            (raw >> COUNT_BITS & (1 << UNIT_BITS) - 1) * UNIT,
            raw >> FIRST_AT & FIRST_MASK,
            raw >> UPPER_AT,
        )

    def write(self, memory: memoryview, at: int) -> None:
        unit = self.offset // UNIT
        low = unit << COUNT_BITS | self.count
        ENTRY.pack_into(memory, at, self.upper << UPPER_AT | self.first << FIRST_AT | low)

    @property
    def cut(self) -> tuple[int, int, int]:
        """Slot of the word, shift and bits of a cut."""
        shift = self.upper >> CUT_SLOT_BITS
        bits = shift >> CUT_SHIFT_BITS
        return (
            self.upper & (1 << CUT_SLOT_BITS) - 1,
            shift & (1 << CUT_SHIFT_BITS) - 1,
            bits,
        )


def hash_words(masked: Iterable[int]) -> int:
    """Give the 64-bit hash of masked key words; its upper bits name the bucket."""
    return sum(word * by for word, by in zip(masked, MULTIPLIERS, strict=False)) & U64


def gathered(searched: int, tuples: int) -> int:
    """Give how many entries a search looks at: those of each BATCH of tuples with one in use."""
    batches = range(0, tuples, BATCH)
    return sum(min(BATCH, tuples - at) for at in batches if searched >> at & (1 << BATCH) - 1)
