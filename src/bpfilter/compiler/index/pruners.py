"""Which tuples need no probe: a bitmap for each value of one masked word, or of some.

For the packets of a sample, drawn from the rows, each candidate tells which tuples it
leaves. Those are chosen, one after the other, that save the most probes for what they cost
themselves: a table that is small enough for a near cache, though values share bitmaps in
it, may be better than one that leaves fewer tuples.
"""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.buckets import table_bits
from bpfilter.compiler.index.rows import U32, U64, Bools, Rows, hash_rows
from bpfilter.compiler.index.tuples import PROBE_NS, Tuples
from bpfilter.dataclass import dataclass
from bpfilter.rules.distinct import distinct_rows

#: Packets in the sample.
SAMPLE = 1024
#: What a pruner takes, in ns, and each time its table has twice as many entries as fit into
#: the nearest cache.
PRUNER_NS = 6.0
FAR_NS, NEAR_BITS = 3.0, 11
BITS_MAX = 17
#: Candidates of several words.
JOINT = 12
#: With fewer tuples there is nothing to leave out.
TUPLES_MIN = 3


@dataclass(eq=False, slots=True)
class Pruner:
    """A candidate: `sets[hash >> (64 - bits)]` are the tuples that have such a value."""

    masks: U32  # [K]
    sets: U64
    bits: int
    always: int

    def leaves(self, words: U32) -> U64:
        """Give the set of tuples that are left for each packet."""
        place = hash_rows(words, self.masks) >> np.uint64(64 - self.bits)
        return self.sets[place.astype(np.int64)] | np.uint64(self.always)


def choose_pruners(rows: Rows, tuples: Tuples) -> list[Pruner]:
    """Choose the pruners of a chain, none if probes are few anyway."""
    if len(tuples) < TUPLES_MIN:
        return []
    words, bound = _sample(rows)
    # a search stops at tuples behind the row that the packet was drawn from
    within = tuples.min_order[None] <= bound[:, None]
    found = [
        pruner
        for masks in _single(tuples) + _joint(tuples)
        for pruner in _sizes(_make(rows, tuples, masks))
    ]
    left = [_unpack(pruner.leaves(words), len(tuples)) & within for pruner in found]
    chosen: list[Pruner] = []
    alive = within
    cost = float(alive.sum(axis=1).mean()) * PROBE_NS
    while found and len(chosen) < layout.PRUNERS_MAX:
        costs = [
            float((alive & bits).sum(axis=1).mean()) * PROBE_NS + _price(pruner)
            for bits, pruner in zip(left, found, strict=True)
        ]
        best = int(np.argmin(costs))
        if costs[best] >= cost:
            break
        alive = alive & left.pop(best)
        chosen.append(found.pop(best))
        cost = float(alive.sum(axis=1).mean()) * PROBE_NS
    return chosen


def _price(pruner: Pruner) -> float:
    return PRUNER_NS + FAR_NS * max(0, pruner.bits - NEAR_BITS)


def _sample(rows: Rows) -> tuple[U32, U32]:
    # a packet within each of some rows: its key words, and the row's order
    random = np.random.default_rng(0)
    which = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)
    shape = (len(which), rows.masks.shape[1])
    noise = random.integers(0, 1 << 32, shape, dtype=np.uint32)
    return rows.values[which] | noise & ~rows.masks[which], rows.order[which]


def _single(tuples: Tuples) -> list[U32]:
    # prefixes of one word, and halves: ports
    out = []
    for k in range(tuples.masks.shape[1]):
        of_word = tuples.masks[:, k]
        wanted = {0xFF000000, 0xFFF00000, 0xFFFF0000, 0xFFFFF000, 0xFFFFFF00, 0xFFFFFFFF, 0xFFFF}
        for mask in sorted(wanted):
            if ((of_word & np.uint32(mask)) == mask).sum() >= 2:
                masks = np.zeros(tuples.masks.shape[1], np.uint32)
                masks[k] = mask
                out.append(masks)
    return out


def _joint(tuples: Tuples) -> list[U32]:
    # what two tuples have in common, if that is of several words: for most tuples first
    pairs = tuples.masks[:, None] & tuples.masks[None]
    every = pairs.reshape(-1, tuples.masks.shape[1])
    different = distinct_rows(every[np.count_nonzero(every, axis=1) > 1])
    applies = ((tuples.masks[:, None] & different[None]) == different[None]).all(axis=2)
    best = np.argsort(-applies.sum(axis=0), kind="stable")[:JOINT]
    return [
        masks
        for masks, many in zip(different[best], applies.sum(axis=0)[best], strict=True)
        if many > 1
    ]


def _sizes(pruner: Pruner) -> list[Pruner]:
    # also with four and sixteen bitmaps in one
    out = [pruner]
    for bits in range(pruner.bits - 2, max(NEAR_BITS, pruner.bits - 4) - 1, -2):
        sets = np.bitwise_or.reduce(pruner.sets.reshape(1 << bits, -1), axis=1)
        out.append(Pruner(pruner.masks, sets, bits, pruner.always))
    return out


def _make(rows: Rows, tuples: Tuples, masks: U32) -> Pruner:
    applies = ((tuples.masks & masks) == masks).all(axis=1)
    always = sum(1 << int(t) for t in np.flatnonzero(~applies))
    which = applies[tuples.of]
    hashes = hash_rows(rows.values[which], masks)
    of = tuples.of[which]
    bits = _bits(hashes)
    sets = np.zeros(1 << bits, np.uint64)
    place = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    np.bitwise_or.at(sets, place, np.uint64(1) << of.astype(np.uint64))
    return Pruner(masks, sets, bits, always)


def _bits(hashes: U64) -> int:
    # two to four times as many entries as there are values
    used = np.zeros(1 << BITS_MAX, np.bool_)
    used[(hashes >> np.uint64(64 - BITS_MAX)).astype(np.int64)] = True
    return int(table_bits(np.count_nonzero(used, keepdims=True), np.array([BITS_MAX]), 2.0)[0])


def _unpack(sets: U64, count: int) -> Bools:
    return (sets[:, None] >> np.arange(count, dtype=np.uint64)[None] & np.uint64(1)).astype(bool)


def write_pruners(pruners: list[Pruner], key_words: int, blob: Blob) -> int:
    """Write their sets and table; give the offset of the table."""
    table = bytearray(layout.stride(key_words) * len(pruners))
    for number, pruner in enumerate(pruners):
        at = number * layout.stride(key_words)
        layout.PRUNER.pack_into(
            table, at, blob.append(pruner.sets), 64 - pruner.bits, pruner.always
        )
        start = at + layout.MASKS_OFFSET
        table[start : start + 4 * key_words] = pruner.masks.tobytes()
    return blob.append_bytes(bytes(table)) if pruners else 0
