"""ClassBench-like filter sets: overlapping prefixes, port ranges, a mix of protocols.

In the style of Taylor and Turner (see seeds.py): pairs of prefix lengths, then addresses
from skewed trees of which prefixes nest, port pairs by class. The last rule drops all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.families import seeds
from bench.families.model import (
    ANY_PORT,
    HAVE_PORTS,
    TCP,
    Boxes,
    Family,
    Packets,
    Verdicts,
    Words,
    is_unicast,
    lines,
    mask,
    packets_in,
    rows_evenly,
    saved,
)
from bench.families.seeds import Lengths, Seed, Tree

_ROUNDS = 64
_WORST = 16
_WORST_TRIES = 4096
#: Prefix bits of both sides from which on rules stand in no order of generality.
_SPECIFIC = 40
#: Prefix bits of both sides below which a rule names one destination port.
_OPEN = 22


def make_acl(rules: int, seed: int, verdicts: Verdicts) -> Family:
    return _make("acl", seeds.ACL, rules, seed, verdicts)


def make_firewall(rules: int, seed: int, verdicts: Verdicts) -> Family:
    return _make("firewall", seeds.FIREWALL, rules, seed, verdicts)


def make_ipc(rules: int, seed: int, verdicts: Verdicts) -> Family:
    return _make("ipc", seeds.IPC, rules, seed, verdicts)


def _make(name: str, kind: Seed, rules: int, seed: int, verdicts: Verdicts) -> Family:
    rng = np.random.default_rng([seed, rules, *name.encode()])
    boxes = draw(kind, rules - 1, rng)
    mixed = verdicts is Verdicts.MIXED
    drops = rng.random(rules - 1) < (kind.drops if mixed else 1)
    rest = lines(boxes, np.where(drops, "DROP", "ACCEPT").tolist())
    text = saved({"FORWARD": [*rest, "-A FORWARD -j DROP"]})
    if rules == 1:
        boxes = draw(kind, 1, rng)  # where packets are
    packets = packets_in(boxes, rows_evenly(len(boxes), rng), rng)
    worst = _worst(boxes if rules > 1 else boxes.take(np.arange(0)), packets, rng)
    worst["rule"] = rules - 1
    return Family(name, rules, text, packets, worst)


def draw(kind: Seed, rules: int, rng: np.random.Generator) -> Boxes:
    """Draw different rules, in an order in which few hide others."""
    roots = rng.integers(1 << 63, size=2, dtype=np.uint64)
    batches = []
    kept: NDArray[np.int64] = np.arange(0)
    for _ in range(_ROUNDS):
        batches.append(_draw(kind, max(64, int((rules - len(kept)) * 1.2)), roots, rng))
        every = _joined(batches)
        kept = _different(every)
        if len(kept) >= rules:
            break
    else:
        raise ValueError(f"{rules} different rules are more than this seed gives")
    # The first of equal ones, cut to size as drawn, not as sorted.
    found = every.take(np.sort(kept)[:rules])
    return found.take(np.argsort(_places(found, rng), kind="stable"))


def _draw(kind: Seed, count: int, roots: NDArray[np.uint64], rng: np.random.Generator) -> Boxes:
    source_length, target_length = _lengths(kind, count, rng)
    chances = rng.random((2, 32, count))
    related = rng.random(count) < kind.correlation
    chances[1, : kind.correlated, related] = chances[0, : kind.correlated, related]
    source = _addresses(kind.source, roots[0], chances[0])
    target = _addresses(kind.target, roots[1], chances[1])
    # Related addresses are of the same tree as far as they are alike.
    target[related] = _addresses(kind.source, roots[0], chances[1][:, related])
    proto = _choose(kind.protocols, count, rng).astype(np.uint8)
    # Rules open on both sides name a service, or a few of them would hide all others.
    is_open = source_length + target_length < _OPEN
    proto[is_open & ~np.isin(proto, HAVE_PORTS)] = TCP
    sports, dports = _ports(kind, proto, rng)
    dports[is_open] = _class_ports("EM", int(is_open.sum()), rng)
    return Boxes(
        source & mask(source_length),
        source_length,
        target & mask(target_length),
        target_length,
        proto,
        sports,
        dports,
    )


def _lengths(
    kind: Seed, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    weights = np.array([weight for weight, _, _ in kind.lengths])
    mixture = rng.choice(len(weights), count, p=weights / weights.sum())
    sides = []
    for side in (1, 2):
        out = np.zeros(count, np.int64)
        for number, component in enumerate(kind.lengths):
            there = mixture == number
            lengths: Lengths = component[side]  # type: ignore[assignment]
            out[there] = _choose(lengths, int(there.sum()), rng)
        for _ in range(2):
            moves = (rng.random(count) < kind.smoothing) & (out > 0) & (out < 32)
            out += np.where(moves, rng.choice((-1, 1), count), 0)
        sides.append(out)
    return sides[0], sides[1]


def _addresses(tree: Tree, root: np.uint64, chances: NDArray[np.float64]) -> Words:
    # All addresses walk down the tree together. What a node is like follows from its hash:
    # whether it has two children, which one is heavier, or which is the only one.
    nodes = np.zeros(chances.shape[1], np.uint64)
    for depth in range(32):
        if depth == 0:
            bits = np.zeros(len(nodes), bool)  # below 128.0.0.0: unicast
        else:
            hashed = _mix((nodes | np.uint64(1 << depth)) ^ root)
            heavy = (hashed & np.uint64(1)).astype(bool)
            branches = (hashed >> np.uint64(40)) < tree.branching[depth // 8] * (1 << 24)
            light = branches & (chances[depth] >= tree.skew[depth // 8])
            bits = heavy ^ light
        nodes = nodes << np.uint64(1) | bits.astype(np.uint64)
    out = nodes.astype(np.uint32)
    # 0.0.0.0/8 and 127.0.0.0/8 are no hosts' addresses.
    return np.where(is_unicast(out), out, out ^ np.uint32(0x2A00_0000)).astype(np.uint32)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # The finalizer of splitmix64 (Steele, Lea, Flood 2014).
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return numbers ^ (numbers >> np.uint64(31))


def _ports(
    kind: Seed, proto: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    count = len(proto)
    names = list(kind.ports)
    pairs = _choose(dict(enumerate(kind.ports.values())), count, rng)
    with_ports = np.isin(proto, HAVE_PORTS)
    sides = []
    for side in (0, 1):
        out = np.tile(np.array(ANY_PORT, np.uint16), (count, 1))
        classes = np.array([name.split("-")[side] for name in names])[pairs]
        for name in ("HI", "LO", "AR", "EM"):
            there = np.flatnonzero(with_ports & (classes == name))
            out[there] = _class_ports(name, len(there), rng)
        sides.append(out)
    return sides[0], sides[1]


def _class_ports(name: str, count: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    match name:
        case "HI":
            return np.tile(np.array((1024, 65_535), np.uint16), (count, 1))
        case "LO":
            return np.tile(np.array((0, 1023), np.uint16), (count, 1))
        case "EM":
            # Zipf-like: the first of the list is the most frequent.
            known = np.array(seeds.PORTS)
            weights = 1 / np.arange(1, len(known) + 1)
            exact = rng.choice(known, count, p=weights / weights.sum())
            other = rng.integers(1, 65_535, count)
            ports = np.where(rng.random(count) < seeds.KNOWN_PORTS, exact, other)
            return np.column_stack([ports, ports]).astype(np.uint16)
        case _:
            ranges = np.array(seeds.RANGES)[rng.integers(len(seeds.RANGES), size=count)]
            low = rng.integers(1, 60_000, count)
            drawn = np.column_stack([low, low + rng.integers(1, 5_000, count)])
            use_known = (rng.random(count) < seeds.KNOWN_RANGES)[:, None]
            return np.where(use_known, ranges, drawn).astype(np.uint16)


def _choose(weights: dict[int, float], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    values = np.array(list(weights.values()))
    return rng.choice(np.array(list(weights)), count, p=values / values.sum())


def _joined(batches: list[Boxes]) -> Boxes:
    return Boxes(
        *(np.concatenate([getattr(b, name) for b in batches]) for name in Boxes.__slots__)
    )


def _different(boxes: Boxes) -> NDArray[np.int64]:
    # The first of each set of equal rules, told apart by a hash of 64 bits. Rules wild on
    # both sides say too much of too little.
    key = boxes.source.astype(np.uint64) << np.uint64(32) | boxes.target
    lengths = boxes.source_length << 14 | boxes.target_length << 8 | boxes.proto
    key = _mix(key) ^ lengths.astype(np.uint64)
    for ports in (boxes.sports, boxes.dports):
        pairs = ports[:, 0].astype(np.uint64) << np.uint64(16) | ports[:, 1]
        key = _mix(key) ^ pairs
    first = np.unique(key, return_index=True)[1]
    wild = (boxes.source_length == 0) & (boxes.target_length == 0)
    kept: NDArray[np.int64] = first[~wild[first]]
    return kept


def _places(boxes: Boxes, rng: np.random.Generator) -> NDArray[np.float64]:
    # In no order, but the general ones the further back the more general they are: what
    # administrators write, or the rest would have no effect.
    bits = boxes.source_length + boxes.target_length
    places: NDArray[np.float64] = rng.random(len(boxes)) + np.maximum(_SPECIFIC - bits, 0) / 8
    return places


def _worst(boxes: Boxes, packets: Packets, rng: np.random.Generator) -> Packets:
    # Packets beside those of rules, as many low bits of each address changed as it takes.
    found = []
    for attempt in range(_WORST_TRIES):
        packet = packets[rng.integers(len(packets))].copy()
        changed = 1 << 1 + attempt % 31
        for field in ("saddr", "daddr"):
            packet[field] = packets[field][rng.integers(len(packets))] ^ rng.integers(changed)
        packet["sport"], packet["dport"] = rng.integers(1, 65_535, 2)
        forwarded = is_unicast(packet["saddr"]) and is_unicast(packet["daddr"])
        if forwarded and packet["proto"] in HAVE_PORTS and not len(boxes.matching(packet)):
            found.append(packet)
            if len(found) == _WORST:
                break
    if not found:
        raise ValueError("every packet matches a rule before the last")
    return np.array(found)
