"""Which tuples there are, and in which one each row is.

Tuples are of a table: all its chains and views search the same, in tables of their own. Every
tuple costs a packet a look at an entry, and every bit that it does not look at puts more rows
behind the entry. Both are estimated on a sample of rows; tuples are then opened one after the
other, each time the one that saves most (the greedy way to place facilities).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index.layout import MULTIPLIERS, TUPLES_MAX
from bpfilter.compiler.index.rows import U32, U64, Bools, Ints, Rows, classify
from bpfilter.dataclass import dataclass

Floats: TypeAlias = NDArray[np.float64]

#: Rows in the rough estimate: so many of a large table, a share of others; mask vectors of
#: rows, and of tuples, that are weighed.
SAMPLE_MIN, SAMPLE_MAX, SAMPLE_SHARE = 1200, 4000, 16
CLIENTS = 320
CANDIDATES = 160
#: What a packet pays for an entry, for going where it leads, and for a record, in ns.
GATHER_NS = 4.0
VISIT_NS = 20.0
RECORD_NS = 12.0
#: Where more rows share an entry than this, they are cut; each one then costs so much.
RUN_ROWS = 8.0
CUT_NS = 1.0
#: A table of 2^14 places tells well enough who shares a bucket, or a value.
_PLACE_BITS = 14


@dataclass(eq=False, slots=True)
class Tuples:
    """`masks[t]` of every tuple; `known` says in which one rows are, by their own masks."""

    masks: U32  # [T, K]
    known: dict[bytes, int]

    def __len__(self) -> int:
        return len(self.masks)

    def assign(self, rows: Rows) -> Ints:
        """Give the tuple of each row; its mask is part of those of the row.

        Rows with masks that were not weighed are put in the most telling one.
        """
        first, of = classify(list(rows.masks.T))
        telling = np.bitwise_count(self.masks).sum(axis=1)
        number = [
            self.known.get(masks.tobytes(), -1)
            for masks in np.ascontiguousarray(rows.masks[first])
        ]
        for place in (place for place, found in enumerate(number) if found < 0):
            fits = ((self.masks & ~rows.masks[first[place]]) == 0).all(axis=1)
            number[place] = int(np.where(fits, telling.astype(np.int64), -1).argmax())
        return np.array(number, np.int64)[of]


def choose_tuples(rows: Rows, chain: Ints, traffic: Floats) -> Tuples:
    """Choose at most TUPLES_MAX tuples for the rows of some chains.

    `traffic` are packets for each row that come to its chain, 1 on average. One that tests
    nothing is always the last, if need be without rows: edits may want it.
    """
    nothing = np.zeros((1, rows.masks.shape[1]), np.uint32)
    if (rows.masks == rows.masks[:1]).all():
        return Tuples(np.concatenate([rows.masks[:1], nothing]), {})
    natural, of = classify(list(rows.masks.T))
    clients, client = _simplified(rows.masks[natural], np.bincount(of))
    candidates = _candidates(clients, np.bincount(client[of]))
    serve, price = _estimate(rows, chain, traffic, client[of], clients, candidates)
    opened = np.array(_open(serve, price))
    chosen = opened[serve[opened].argmin(axis=0)[client]]
    rows_in = np.bincount(chosen, np.bincount(of), len(candidates))
    # The fullest first; candidate 0 tests nothing.
    used = [number for number in np.argsort(-rows_in, kind="stable") if number and rows_in[number]]
    place = {number: at for at, number in enumerate([*used, 0])}
    masks = np.ascontiguousarray(rows.masks[natural])
    known = {
        each.tobytes(): place[number] for each, number in zip(masks, chosen.tolist(), strict=True)
    }
    return Tuples(candidates[[*used, 0]], known)


def _simplified(natural: U32, count: Ints) -> tuple[U32, Ints]:
    """Make few mask vectors of many, each a part of those that it stands for."""
    rare = np.argsort(-count)[CLIENTS // 2 :]
    for part in (1, 4, 8, 16, 32, 64):
        coarse = natural.copy()
        coarse[rare] = _whole_parts(natural[rare], part)
        first, of = classify(list(coarse.T))
        if len(first) <= CLIENTS:
            break
    return coarse[first], of


def _whole_parts(masks: U32, bits: int) -> U32:
    # clear parts of so many bits that are not all ones
    out = np.zeros_like(masks)
    for shift in range(0, 32 if bits <= 32 else 0, bits):
        part = np.uint32(((1 << bits) - 1) << shift)
        out |= np.where((masks & part) == part, part, np.uint32(0))
    return out


def _candidates(clients: U32, count: Ints) -> U32:
    """Give masks that tuples may have: nothing at all, those of rows, and parts of them."""
    frequent = np.argsort(-count)[: CANDIDATES // 2]
    some, half = clients[frequent], count[frequent] / 2
    bytewise = _whole_parts(some, 8)
    parts = [_whole_parts(some, 4), bytewise, _whole_parts(some, 16)]
    for k in range(clients.shape[1]):
        for base in (some, bytewise):
            parts.append(base.copy())
            parts[-1][:, k] = 0
    every = np.concatenate([clients, *parts])
    first, of = classify(list(every.T))
    weight = np.bincount(of, np.concatenate([count, *[half] * len(parts)]))
    best = every[first][np.argsort(-weight)[: CANDIDATES - 1]]
    return np.concatenate([np.zeros((1, clients.shape[1]), np.uint32), best[best.any(axis=1)]])


def _estimate(
    rows: Rows, chain: Ints, traffic: Floats, of: Ints, clients: U32, candidates: U32
) -> tuple[Floats, Floats]:
    """Estimate, roughly, what records cost if each client is in each candidate, and entries.

    Gives ns, for as many packets as there are rows: [candidate, client], infinite where the
    client's rows do not test all that the candidate does; and [candidate].
    """
    sample, weight = _sample(of, len(clients))
    packets = weight * traffic[sample]
    values, client = rows.values[sample], of[sample]
    seed = chain[sample].astype(np.uint64) * np.uint64(MULTIPLIERS[-1])
    fits = ((candidates[:, None] & ~clients[None]) == 0).all(axis=2)
    serve = np.full(fits.shape, np.inf)
    price = np.zeros(len(candidates))
    for number, (masks, fit) in enumerate(zip(candidates, fits, strict=True)):
        there = fit[client]
        places = [_places(values, masks, k) for k in np.flatnonzero(masks).tolist()]
        crowd = _crowd(sum(places, seed), there, weight)
        cost = np.bincount(client, packets * _run_ns(crowd), len(clients))
        serve[number, fit] = cost[fit]
        visited = _probed(places, seed, there)
        price[number] = (packets * (GATHER_NS + VISIT_NS * visited)).sum()
    return serve, price


def _places(values: U32, masks: U32, k: int) -> U64:
    # the part of the hash that is one word's
    words: U64 = (values[:, k] & masks[k]).astype(np.uint64)
    return words * np.uint64(MULTIPLIERS[k])


def _run_ns(rows: Floats) -> Floats:
    # few records one after the other; many are cut, as well as may be
    return RECORD_NS * np.minimum(rows, RUN_ROWS) + CUT_NS * np.maximum(rows - RUN_ROWS, 0)


def _crowd(hashes: U64, there: Bools, weight: Floats) -> Floats:
    # rows in the bucket of each row, itself and those that the others stand for
    key = (hashes >> np.uint64(64 - _PLACE_BITS)).astype(np.int64)
    return np.bincount(key, weight * there, 1 << _PLACE_BITS)[key] - weight + 1


def _probed(places: list[U64], seed: U64, there: Bools) -> Bools:
    # whether there are rows in the chain with each of a packet's words, for a packet of each row
    out = np.ones(len(there), np.bool_)
    for place in places:
        key = (place + seed >> np.uint64(64 - _PLACE_BITS)).astype(np.int64)
        seen = np.zeros(1 << _PLACE_BITS, np.bool_)
        seen[key[there]] = True
        out &= seen[key]
    return out


def _sample(of: Ints, clients: int) -> tuple[Ints, Floats]:
    # a share of each client's rows, but some of each; and how many rows each stands for
    count = np.bincount(of, minlength=clients)
    size = min(SAMPLE_MAX, max(SAMPLE_MIN, len(of) // SAMPLE_SHARE))
    share = min(1.0, size / len(of))
    wanted = np.minimum(count, np.maximum(4, np.ceil(count * share))).astype(np.int64)
    order = np.argsort(of, kind="stable")
    number = np.arange(wanted.sum()) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    spread = np.repeat(count / wanted, wanted)
    start = np.repeat(np.cumsum(count) - count, wanted)
    return order[start + (number * spread).astype(np.int64)], spread


def _open(serve: Floats, price: Floats) -> list[int]:
    # candidate 0 serves all
    opened = [0]
    now = serve[0].copy()
    while len(opened) < TUPLES_MAX:
        gain = np.maximum(now - serve, 0).sum(axis=1) - price
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        opened.append(best)
        now = np.minimum(now, serve[best])
    return opened
