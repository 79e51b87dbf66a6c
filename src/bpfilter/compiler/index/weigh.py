"""What a tuple costs the packets of a chain, on average, estimated on a sample.

A search pays for each tuple that pruners leave: to hash, to look at the entry, and, if the
bucket is not empty, to read its records. Small tuples lie in near caches and cost less.
Costs are in ns; they only have to be right to each other.
"""

from __future__ import annotations

import numpy as np

from bpfilter.compiler.index.rows import U32, Bools, Ints, KeyWords, Rows, hash_rows

#: Rows and packets in the sample.
ROWS = 16384
PACKETS = 512
#: A probe of a small tuple; what a used bucket and a cut add; a record.
PROBE_NS = 8.0
USED_NS = 5.0
CUT_NS = 8.0
RECORD_NS = 3.0
#: Reading what lies in a far cache, added to each of the first three for large tuples.
FAR_NS = 8.0
#: Rows of a tuple from which on it outgrows near caches, and is wholly out of them; as bits.
NEAR_BITS, FAR_BITS = 10, 16
#: Records of a run, and how many times fewer a cut leaves.
RUN, CUT_BY = 8, 16
#: What a record that is left in a long run by cuts costs.
LEFT_NS = 0.05
#: Bits of bitmaps that stand for pruners.
_SEEN_BITS = 14


class Scales:
    """A sample of rows, by client (those of one mask vector), and packets within rows."""

    def __init__(self, rows: Rows, of: Ints, clients: int, words: KeyWords) -> None:
        random = np.random.default_rng(0)
        n = len(rows)
        sample = random.permutation(n)[:ROWS] if n > ROWS else np.arange(n)
        sample = sample[np.argsort(of[sample], kind="stable")]
        self._scale = n / len(sample)
        self._values = rows.values[sample]
        self._order = rows.order[sample]
        self._start = np.searchsorted(of[sample], np.arange(clients + 1))
        drawn = np.linspace(0, n - 1, min(PACKETS, n)).astype(np.int64)
        noise = random.integers(0, 1 << 32, (len(drawn), words.count), dtype=np.uint32)
        self._packets = rows.values[drawn] | noise & ~rows.masks[drawn]
        self._bound = rows.order[drawn]
        self._pruners = [
            (mask, self._places(self._values, mask), self._places(self._packets, mask))
            for mask in _pruners(words)
        ]
        self._known: dict[bytes, float] = {}

    def weigh(self, masks: U32, clients: Ints) -> float:
        """Give the cost of a tuple with the rows of some clients, in ns for each packet."""
        key = masks.tobytes() + clients.tobytes()
        if key not in self._known:
            rows = [np.arange(self._start[c], self._start[c + 1]) for c in clients]
            members = np.concatenate(rows) if rows else np.zeros(0, np.int64)
            self._known[key] = self._weigh(masks, members) if len(members) else 0.0
        return self._known[key]

    def _weigh(self, masks: U32, members: Ints) -> float:
        bits = max(1, (len(members) * 3 // 2).bit_length())
        shift = np.uint64(64 - bits)
        count = np.bincount((hash_rows(self._values[members], masks) >> shift).astype(np.int64))
        bucket = (hash_rows(self._packets, masks) >> shift).astype(np.int64)
        found = count[np.minimum(bucket, len(count) - 1)] * (bucket < len(count))
        # each row found stands for others, too; not so the one the packet was drawn from
        run = np.where(found > 0, 1 + (found - 1) * self._scale, 0)
        size = np.log2(len(members) * self._scale)
        far = FAR_NS * min(1.0, max(0.0, (size - NEAR_BITS) / (FAR_BITS - NEAR_BITS)))
        cuts = np.ceil(np.log2(np.maximum(run, RUN) / RUN) / np.log2(CUT_BY))
        # half of a run is read, if one of it matches
        cost = PROBE_NS + far + (run > 0) * (USED_NS + far + RECORD_NS / 2)
        cost += cuts * (CUT_NS + 2 * far) + RECORD_NS / 2 * np.minimum(run, RUN)
        cost += LEFT_NS * np.maximum(run - RUN * CUT_BY / 2, 0)
        return float((cost * self._probed(masks, members)).mean())

    def _probed(self, masks: U32, members: Ints) -> Bools:
        # by which packets: those with no rule before, if pruners leave the tuple
        probed = self._bound >= self._order[members].min()
        for mask, of_rows, of_packets in self._pruners:
            if ((masks & mask) == mask).all():
                seen = np.zeros(1 << _SEEN_BITS, np.bool_)
                seen[of_rows[members]] = True
                probed &= seen[of_packets]
        return probed

    def _places(self, words: U32, mask: U32) -> Ints:
        return (hash_rows(words, mask) >> np.uint64(64 - _SEEN_BITS)).astype(np.int64)


def _pruners(words: KeyWords) -> list[U32]:
    """Give masks like those of the pruners that there will be: addresses and ports."""
    of_word = {word: [0xFFFFF000] for word in words.compared}
    if words.ports is not None:
        of_word[words.ports] = [0xFFFF, 0xFFFF0000]
    out = []
    for word, masks in of_word.items():
        for mask in masks:
            out.append(np.zeros(words.count, np.uint32))
            out[-1][word] = mask
    return out
