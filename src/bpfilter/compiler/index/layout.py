"""The bytes of the index, as builder, search and edits know them.

All lies in one array map, in native byte order; offsets are in bytes from its start. A
chain is found through its *descriptor*: a table of *tuples* and one of *pruners*.

    descriptor ─┬─ pruners ── sets of tuples     one word masked, hashed: which tuples to probe
                └─ tuples ── entries ─┬─ run     a few records, or one
                                      ├─ long run     a header, then records
                                      └─ cut ── entries ─ …     by a few bits of one word

*Key words* are up to KEY_WORDS_MAX words of a packet. A tuple is a mask for each of them;
its rules test at least those bits exactly. `hash_words(word & mask) >> shift` is the
bucket. A *record* holds what is necessary for its rule to match; records of a run are in
ascending order. Numbers below are offsets in the structure.

Header (64 bytes, at 0; nothing in it is read by the search):
    0 u32 MAGIC | 4 u32 free: offset of the first free byte | 8 u32 size: end of the room for
    edits | 12 u32 offset of the kinds | 16 u32 number of kinds | 20 u32 kinds there is room for
Descriptor (64 bytes, 64-aligned; a chain has VIEWS in a row):
    0 u64 tuples to probe, a set | 8 u32 end_pc | 12 u32 number of pruners | 16 u32 offset of
    tuples | 20 u32 offset of pruners | 24 u32 number of tuples | 28 u32 offset of hiders |
    32 u32 number of hiders
Tuple (8-aligned, `stride(K)` bytes; ascending by min_order, bit t of a set is tuple t):
    0 u32 offset of entries | 4 u32 shift | 8 u32 min_order, no record in this tuple *or a later
    one* is lower | 12 u32 longest, steps one bucket may take: cuts and records | 16 u32 mask[K]
Pruner (stride as a tuple):
    0 u32 offset of sets (u64) | 4 u32 shift | 8 u64 always, tuples it says nothing of |
    16 u32 mask[K]
Entry (u32): 0 empty, or unit << 6 | count, at offset unit * UNIT:
    count 1..61 that many records | 62 a long run | 63 a cut
Long run: 8 bytes: 0 u32 number of records | 4 u32 the largest power of two that is not more;
    then the records.
Cut (8 bytes at a unit):
    0 u8 key word | 1 u8 shift | 2 u8 bits, 1..8 | 3 u8 0 | 4 u32 offset of entries; the next is
    that of `(word >> shift) & (2**bits - 1)`. A path has MAX_CUTS at most.
Record (8 + 4 * R bytes), small, so that many of them fit the processor's caches:
    0 u32 order << 8 | kind >> 8 | 4 u32 pc << 8 | kind & 0xff | 8 u32 value[R]
    of the R <= 3 key words that records compare.
Kind (32 bytes; one table for all records, which are of few kinds):
    0 u32 mask[3] of these words | 12 u16 lowest, 14 u16 highest source port | 16 u16 lowest,
    18 u16 highest destination port | 20 u8 protocol, 0 is any | 21 11x
Hiders: u32 orders, ascending, of rules that others were left out for (edit.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from bpfilter.dataclass import dataclass

KEY_WORDS_MAX = 12
TUPLES_MAX = 64
PRUNERS_MAX = 4
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
HEADER = struct.Struct("=IIIIII40x")
DESCRIPTOR = struct.Struct("=QIIIIIII28x")
TUPLE = struct.Struct("=IIII")
PRUNER = struct.Struct("=IIQ")
SET = struct.Struct("=Q")
ENTRY = struct.Struct("=I")
LONG_RUN = struct.Struct("=II")
CUT = struct.Struct("=BBBxI")
RECORD_HEAD = struct.Struct("=II")
KIND = struct.Struct("=IIIHHHHB11x")

HEADER_BYTES = HEADER.size
DESCRIPTOR_BYTES = DESCRIPTOR.size
#: Where the masks of a tuple or pruner start.
MASKS_OFFSET = TUPLE.size
KIND_BYTES = KIND.size
#: Words that records compare, at most.
COMPARED_MAX = 3
#: The number of a kind has 16 bits.
KINDS_MAX = 1 << 16
#: What entries count in.
UNIT = 4
#: The number of a unit has 26 bits.
SIZE_MAX = UNIT << 26

#: Counts of an entry that are none.
ENTRY_LONG = 62
ENTRY_CUT = 63
RUN_MAX = 61
#: Bits of an entry that count.
COUNT_BITS = 6
COUNT_MASK = (1 << COUNT_BITS) - 1

#: Nothing found, and the order that none can have.
ORDER_NONE = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class KeyWords:
    """How many key words a program has, which of them records compare, and which is the word
    of ports (source << 16 | destination)."""

    count: int
    compared: tuple[int, ...] = ()
    ports: int | None = None

    @property
    def record_bytes(self) -> int:
        return RECORD_HEAD.size + 4 * len(self.compared)


def stride(key_words: int) -> int:
    """Give the bytes from one tuple (or pruner) to the next."""
    return -(-(MASKS_OFFSET + 4 * key_words) // 8) * 8


def hash_words(masked: Iterable[int]) -> int:
    """Give the 64-bit hash of masked key words; its upper bits name the bucket."""
    return sum(word * by for word, by in zip(masked, MULTIPLIERS, strict=False)) & U64
