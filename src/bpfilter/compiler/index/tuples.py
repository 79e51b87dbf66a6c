"""Which tuples there are, and in which one each row is.

Every tuple may cost a packet a probe, and every bit that a tuple does not look at puts more
rows into its buckets. Both are estimated on a sample of rows; tuples are then opened one
after the other, each time the one that saves most (the greedy way to place facilities).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index.layout import TUPLES_MAX
from bpfilter.compiler.index.rows import U32, U64, Ints, Rows, classify, hash_rows

Floats = NDArray[np.float64]

#: Rows in the sample, and mask vectors that are weighed against each other.
SAMPLE = 4096
CLIENTS = 400
CANDIDATES = 400
#: What a packet pays, in ns: for a probe, for a record, and for halving a long run.
PROBE_NS = 25.0
RECORD_NS = 3.0
HALF_NS = 10.0
#: Runs up to here are not cut.
RUN = 8
#: Bits of the bitmaps that tell how much a pruner would leave of a tuple.
_SEEN_BITS = 14


@dataclass(eq=False, slots=True)
class Tuples:
    """`masks[t]` of every tuple, ascending by the lowest order in it; `of[row]` is its tuple."""

    masks: U32  # [T, K]
    of: Ints  # [n]
    min_order: U32  # [T]

    def __len__(self) -> int:
        return len(self.masks)


def choose_tuples(rows: Rows) -> Tuples:
    """Choose at most TUPLES_MAX tuples; a tuple's mask is part of the masks of all its rows."""
    if len(rows) == 0:
        return Tuples(rows.masks, np.zeros(0, np.int64), rows.order)
    if (rows.masks == rows.masks[0]).all():
        return _in_order(rows, rows.masks[:1], np.zeros(len(rows), np.int64))
    first, of = classify(list(rows.masks.T))
    clients, client = _simplified(rows.masks[first], np.bincount(of))
    of = client[of]
    candidates = _candidates(clients, np.bincount(of))
    serve, probe = _costs(rows, of, clients, candidates)
    opened = _open(serve, probe)
    return _in_order(rows, candidates[opened], serve[opened].argmin(axis=0)[of])


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
    if bits > 32:
        return out
    for shift in range(0, 32, bits):
        part = np.uint32(((1 << bits) - 1) << shift)
        out |= np.where((masks & part) == part, part, np.uint32(0))
    return out


def _candidates(clients: U32, count: Ints) -> U32:
    """Give masks that tuples may have: those of rows, parts of them, and nothing at all."""
    frequent = np.argsort(-count)[: CANDIDATES // 2]
    some = clients[frequent]
    parts = [clients, _whole_parts(some, 4), _whole_parts(some, 8), _whole_parts(some, 16)]
    weights = [count, *[count[frequent] // 2] * 3]
    for k in range(clients.shape[1]):
        for base in (some, _whole_parts(some, 8)):
            without = base.copy()
            without[:, k] = 0
            parts.append(without)
            weights.append(count[frequent] // 2)
    every = np.concatenate(parts)
    first, of = classify(list(every.T))
    weight = np.bincount(of, np.concatenate(weights))
    best = every[first][np.argsort(-weight)[: CANDIDATES - 1]]
    nothing = np.zeros((1, clients.shape[1]), np.uint32)
    return np.concatenate([nothing, best[best.any(axis=1)]])


def _costs(rows: Rows, of: Ints, clients: U32, candidates: U32) -> tuple[Floats, Floats]:
    """Estimate what it costs to have each client in each candidate, and to have a candidate.

    Gives ns for all packets, if each row has one: [candidate, client], infinite where the
    client's rows do not test all that the candidate does; and [candidate].
    """
    sample, weight = _sample(of, len(clients))
    values, client = rows.values[sample], of[sample]
    fits = ((candidates[:, None] & ~clients[None]) == 0).all(axis=2)
    serve = np.full(fits.shape, np.inf)
    probe = np.zeros(len(candidates))
    for number, masks in enumerate(candidates):
        there = np.flatnonzero(fits[number][client])
        hashes = hash_rows(values, masks)
        crowd = _crowd(hashes[there], weight[there])
        cost = np.bincount(client[there], weight[there] * _run_ns(crowd), len(clients))
        serve[number][fits[number]] = cost[fits[number]]
        probe[number] = PROBE_NS * (weight * _seen(values, masks, there)).sum()
    return serve, probe


def _sample(of: Ints, clients: int) -> tuple[Ints, Floats]:
    # a share of each client's rows, but some of each; with how many rows each stands for
    count = np.bincount(of, minlength=clients)
    share = min(1.0, SAMPLE / len(of))
    wanted = np.minimum(count, np.maximum(8, np.ceil(count * share))).astype(np.int64)
    order = np.argsort(of, kind="stable")
    start = np.cumsum(count) - count
    number = np.arange(wanted.sum()) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    spread = np.repeat(count / wanted, wanted)
    return order[np.repeat(start, wanted) + (number * spread).astype(np.int64)], spread


def _crowd(hashes: U64, weight: Floats) -> Floats:
    # rows in the bucket of each row of the sample: itself, and those the others stand for
    _, key = np.unique(hashes, return_inverse=True)
    return np.bincount(key, weight)[key] - weight + 1


def _run_ns(crowd: Floats) -> Floats:
    return RECORD_NS * np.minimum(crowd, RUN) + HALF_NS * np.log2(np.maximum(crowd / RUN, 1))


def _seen(values: U32, masks: U32, there: Ints) -> Floats:
    # whether pruners on each of its words would leave the tuple, for a packet of each row
    out = np.ones(len(values), np.bool_)
    for k in np.flatnonzero(masks):
        word = np.zeros_like(masks)
        word[k] = masks[k]
        place = (hash_rows(values, word) >> np.uint64(64 - _SEEN_BITS)).astype(np.int64)
        seen = np.zeros(1 << _SEEN_BITS, np.bool_)
        seen[place[there]] = True
        out &= seen[place]
    return out.astype(np.float64)


def _open(serve: Floats, probe: Floats) -> Ints:
    # candidate 0 serves all
    opened = [0]
    now = serve[0].copy()
    while len(opened) < TUPLES_MAX:
        gain = np.maximum(now - serve, 0).sum(axis=1) - probe
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        opened.append(best)
        now = np.minimum(now, serve[best])
    return np.array(opened)


def _in_order(rows: Rows, masks: U32, of: Ints) -> Tuples:
    # rows ascend, so a tuple's first row has its lowest order
    first = np.full(len(masks), len(rows))
    np.minimum.at(first, of, np.arange(len(rows)))
    order = np.argsort(first)
    order = order[first[order] < len(rows)]
    place = np.zeros(len(masks), np.int64)
    place[order] = np.arange(len(order))
    return Tuples(masks[order], place[of], rows.order[first[order]])
