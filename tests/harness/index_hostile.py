"""Rules made to be hard for the index, or to go to its limits."""

from __future__ import annotations

import numpy as np

from bench.families import model
from bpfilter.compiler.index.rows import KeyWords, Rows
from tests.harness.index_rows import Array, Generator, everything, like_classbench, rows_of

#: Key words of IPv6 and of one interface name's first word: source, destination, ports, name.
#: Records see the last word of each address.
IPV6 = KeyWords(count=10, compared=(3, 7), ports=8, slots=tuple(range(10)))


def ranges(n: int, random: Generator) -> Rows:
    """Any range of destination ports, of two protocols, with no address."""
    boxes = everything(n)
    boxes.dports = np.sort(random.integers(0, 65536, (n, 2)), axis=1).astype(np.uint16)
    boxes.proto = random.choice(np.array([model.TCP, model.UDP], np.uint8), n)
    return rows_of(boxes)


def two_ranges(n: int, random: Generator) -> Rows:
    """Any ranges of source and destination ports."""
    rows = ranges(n, random)
    rows.sports = np.sort(random.integers(0, 65536, (n, 2)), axis=1).astype(np.uint16)
    return rows


def short_ranges(n: int, random: Generator) -> Rows:
    boxes = everything(n)
    low = random.integers(0, 65000, n)
    boxes.dports = np.column_stack([low, low + random.integers(0, 500, n)]).astype(np.uint16)
    return rows_of(boxes)


def nested(n: int, random: Generator) -> Rows:
    """Prefixes of one address and of its neighbours, on both sides, of every length."""
    boxes = everything(n)
    boxes.source_length, boxes.target_length = random.integers(0, 33, (2, n))
    flips = np.uint32(1) << random.integers(0, 32, n).astype(np.uint32)
    boxes.source = np.uint32(0x0A0B0C0D) ^ np.where(random.random(n) < 0.5, flips, np.uint32(0))
    boxes.target = np.full(n, 0xC0A80101, np.uint32)
    return rows_of(boxes)


def same(n: int, random: Generator) -> Rows:
    """Rules that match every packet."""
    return rows_of(everything(n))


def repeated(n: int, random: Generator) -> Rows:
    """Few different rules, many times."""
    some = like_classbench("acl", max(2, n // 40), random)
    return renumbered(some.take(random.integers(0, len(some), n)))


def masks(n: int, random: Generator) -> Rows:
    """Masks that are no prefixes, nearly every one different."""
    rows = rows_of(everything(n))
    masks = random.integers(0, 1 << 32, (2, n, 2), dtype=np.uint32)
    rows.masks[:, :2] = masks[0] | masks[1]
    rows.values[:, :2] = random.integers(0, 1 << 32, (n, 2), dtype=np.uint32) & rows.masks[:, :2]
    return rows


def holes(n: int, random: Generator) -> Rows:
    """Masks of few bits with gaps between them, so that cuts look at bits that are not asked."""
    rows = rows_of(everything(n))
    some = random.integers(0, 1 << 32, (3, 40, 2), dtype=np.uint32)
    masks = some[0] & some[1] & some[2]
    which = random.integers(0, 40, (2, n))
    rows.masks[:, :2] = np.column_stack([masks[which[0], 0], masks[which[1], 1]])
    rows.masks[random.random((n, 3)) < 0.4] = 0
    near = random.integers(0, 1 << 32, (30, 2), dtype=np.uint32)
    rows.values[:, :2] = near[random.integers(0, 30, n)] & rows.masks[:, :2]
    return rows


def one_bucket(n: int, random: Generator) -> Rows:
    """One host, with many ports or ranges of them, and few more."""
    boxes = everything(n)
    boxes.source = np.where(random.random(n) < 0.9, 0x0A000001, 0x0A000002).astype(np.uint32)
    boxes.source_length[:] = 32
    low = random.integers(0, 60000, n)
    span = np.where(random.random(n) < 0.3, random.integers(0, 5000, n), 0)
    boxes.dports = np.column_stack([low, low + span]).astype(np.uint16)
    return rows_of(boxes)


def ipv6(n: int, random: Generator) -> Rows:
    """Prefixes of 128 bits, ports, and a name; records see two of the words."""
    small = like_classbench("ipc", n, random)
    rows = rows_of(everything(n))
    rows.masks, rows.values = np.zeros((2, n, IPV6.count), np.uint32)
    for side, at in ((0, 0), (1, 4)):
        # prefixes of 0 to 32 bits, four times as long
        length = 4 * np.bitwise_count(small.masks[:, side]).astype(np.int64)
        for word in range(4):
            mask = model.mask(np.clip(length - 32 * word, 0, 32))
            near = small.values[:, side] * np.uint32(2654435761 + word) & np.uint32(0xF000000F)
            rows.masks[:, at + word], rows.values[:, at + word] = mask, near & mask
    rows.masks[:, 8], rows.values[:, 8] = small.masks[:, 2], small.values[:, 2]
    named = random.random(n) < 0.2
    rows.masks[named, 9] = 0xFFFFFFFF
    rows.values[named, 9] = random.integers(1, 5, int(named.sum()))
    rows.sports, rows.dports, rows.proto = small.sports, small.dports, small.proto
    others = [k for k in range(IPV6.count) if k not in (3, 7, 8)]
    rows.hides[:] = ~rows.masks[:, others].any(axis=1)
    return rows


def renumbered(rows: Rows) -> Rows:
    rows.order = np.arange(len(rows), dtype=np.uint32)
    rows.pc = rows.order.copy()
    return rows


def near_misses(words: Array, random: Generator) -> Array:
    """Give packets with some words of others, and some bits wrong."""
    out = words.copy()
    for k in range(words.shape[1]):
        swapped = random.random(len(words)) < 0.3
        out[swapped, k] = out[random.permutation(len(words))[swapped], k]
    flipped = random.random(words.shape) < 0.05
    bits = np.uint32(1) << random.integers(0, 32, words.shape).astype(np.uint32)
    return out ^ np.where(flipped, bits, np.uint32(0))
