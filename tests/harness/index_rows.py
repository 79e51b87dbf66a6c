"""Rows for the index without rules around them: families of rules, and packets for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.families import classbench, model, seeds
from bpfilter.compiler.index.rows import KeyWords, Rows

#: Key words of IPv4: source, destination, ports.
IPV4 = KeyWords(count=3, compared=(0, 1, 2), ports=2, slots=(4, 2, 7))
SEEDS = {"acl": seeds.ACL, "fw": seeds.FIREWALL, "ipc": seeds.IPC}

Array = NDArray[Any]
Generator = np.random.Generator


def everything(n: int) -> model.Boxes:
    """Rules that match every packet, to be narrowed."""
    ports = np.tile(np.array([0, 0xFFFF], np.uint16), (n, 1))
    words, lengths = np.zeros(n, np.uint32), np.zeros(n, np.int64)
    return model.Boxes(
        words, lengths, words.copy(), lengths.copy(), np.zeros(n, np.uint8), ports, ports.copy()
    )


def rows_of(boxes: model.Boxes, hides: Array | bool = True) -> Rows:
    """Give IPv4 rows of rules that are terminal, or some of which are."""
    n = len(boxes)
    masks, values = np.zeros((n, 3), np.uint32), np.zeros((n, 3), np.uint32)
    masks[:, 0], masks[:, 1] = model.mask(boxes.source_length), model.mask(boxes.target_length)
    values[:, 0], values[:, 1] = boxes.source & masks[:, 0], boxes.target & masks[:, 1]
    for ports, shift in ((boxes.sports, 16), (boxes.dports, 0)):
        exact = ports[:, 0] == ports[:, 1]
        masks[exact, 2] |= np.uint32(0xFFFF << shift)
        values[exact, 2] |= ports[exact, 0].astype(np.uint32) << np.uint32(shift)
    order = np.arange(n, dtype=np.uint32)
    return Rows(
        order=order,
        pc=order & np.uint32(0xFFFFFF),
        masks=masks,
        values=values,
        sports=boxes.sports,
        dports=boxes.dports,
        proto=boxes.proto,
        hides=np.broadcast_to(np.asarray(hides, np.bool_), n).copy(),
        form=np.zeros(n, np.uint16),
        kind=np.zeros(n, np.uint32),
    )


def hosts(n: int, random: Generator) -> Rows:
    """Distinct hosts: source /32 and an exact destination port."""
    boxes = everything(n)
    boxes.source = np.uint32(0x0A00_0000) + random.permutation(n).astype(np.uint32) * np.uint32(7)
    boxes.source_length[:] = 32
    boxes.dports = np.repeat(random.integers(1, 1024, (n, 1), dtype=np.uint16), 2, axis=1)
    boxes.proto[:] = model.UDP
    return rows_of(boxes)


def like_classbench(kind: str, n: int, random: Generator) -> Rows:
    return rows_of(classbench.draw(SEEDS[kind], n, random))


def packets_within(
    rows: Rows, which: Array, random: Generator, key: KeyWords = IPV4
) -> tuple[Array, Array]:
    """Give key words and protocols of packets, one within each of those rows."""
    noise = random.integers(0, 1 << 32, (len(which), key.count), dtype=np.uint32)
    words = rows.values[which] | noise & ~rows.masks[which]
    words[:, key.ports] = 0
    for bounds, shift in ((rows.sports[which], 16), (rows.dports[which], 0)):
        low, high = bounds[:, 0].astype(np.int64), bounds[:, 1].astype(np.int64)
        port = random.integers(low, high, endpoint=True).astype(np.uint32)
        words[:, key.ports] |= port << np.uint32(shift)
    return words, np.where(rows.proto[which] == 0, model.TCP, rows.proto[which])
