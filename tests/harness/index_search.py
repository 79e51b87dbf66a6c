"""Searches of a built index, beside the plain first match that they must give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bpfilter.compiler.index import layout
from bpfilter.compiler.index.blob import Blob
from bpfilter.compiler.index.build import Index, IndexBuilder
from bpfilter.compiler.index.kinds import Kinds
from bpfilter.compiler.index.rows import KeyWords, Rows
from bpfilter.compiler.index.walk import Packet, walk
from tests.harness.index_rows import Array


@dataclass
class Built:
    """An index in memory, its descriptor, and what it was built of."""

    rows: Rows
    key: KeyWords
    index: Index
    tuples: Sequence[layout.Tuple]
    memory: bytearray
    descriptor: int

    def steps(self) -> int:
        """Give the bound that the tables state; edits raise it."""
        searched, _, at, _, _ = layout.DESCRIPTOR.unpack_from(self.memory, self.descriptor)
        count, width = len(self.tuples), layout.TABLE_BYTES
        longest = [layout.TABLE.unpack_from(self.memory, at + width * t)[2] for t in range(count)]
        used = [t for t in range(count) if searched >> t & 1]
        return layout.gathered(searched, count) + int(sum(longest[t] for t in used))

    def first(self, packet: Packet, from_order: int) -> int | None:
        """Give the order of the first record; the search stays within the bound."""
        took = walk(self.memory, self.descriptor, self.key, self.tuples, packet, from_order)
        assert took.steps <= self.steps()
        return None if took.found is None else took.found.order

    def matching(self, packet: Packet) -> list[int]:
        """Give orders of the rules a packet matches, up to the one that ends its way.

        As the program does: a record found is a rule to check, and to go on behind, unless
        nothing gets by it.
        """
        out, from_order = [], 0
        while (order := self.first(packet, from_order)) is not None:
            assert order >= from_order
            row = int(np.searchsorted(self.rows.order, order))
            assert self.rows.order[row] == order
            if is_match(self.rows, row, packet):
                out.append(order)
            if self.rows.hides[row]:
                break
            from_order = order + 1
        return out


def build(rows: Rows, key: KeyWords, reserve: int = 0) -> Built:
    blob = Blob()
    blob.append(np.ones(7, np.uint8))  # the index does not start where the blob does
    kinds = Kinds(key)
    kinds.number([rows])
    builder = IndexBuilder(rows, np.zeros(len(rows), np.int64), np.ones(len(rows)), key, blob)
    index = builder.build(rows, end_pc=77)
    kinds.write(blob)
    descriptor = blob.append_bytes(index.descriptor)
    blob.reserve(reserve)
    built = Built(rows, key, index, builder.tuples, blob.to_bytes(), descriptor)
    assert built.steps() == index.steps
    return built


def is_match(rows: Rows, row: int, packet: Packet) -> bool:
    """Tell whether a rule matches, by its masks and its record."""
    return bool(_matches(rows.take(np.array([row])), packet)[0])


def plain(rows: Rows, packet: Packet) -> list[int]:
    """Give the orders of rules a packet matches, up to the first that hides the rest."""
    found = np.flatnonzero(_matches(rows, packet))
    ends = np.flatnonzero(rows.hides[found])
    return list(rows.order[found[: ends[0] + 1] if len(ends) else found].tolist())


def _matches(rows: Rows, packet: Packet) -> Array:
    sport, dport = packet.ports >> 16, packet.ports & 0xFFFF
    matches = (rows.sports[:, 0] <= sport) & (sport <= rows.sports[:, 1])
    matches &= (rows.dports[:, 0] <= dport) & (dport <= rows.dports[:, 1])
    matches &= (rows.proto == 0) | (rows.proto == packet.proto)
    for k, word in enumerate(packet.words):
        matches &= np.uint32(word) & rows.masks[:, k] == rows.values[:, k]
    return matches


def packets_of(words: Array, protos: Array, key: KeyWords) -> Iterator[Packet]:
    """Give packets of key words, where a, b and ports are among those."""
    assert key.ports is not None
    for row, proto in zip(words.tolist(), protos.tolist(), strict=True):
        yield Packet(row, row[key.ports], proto)


def compare(built: Built, packets: Sequence[Packet] | Iterator[Packet]) -> None:
    """Assert that searches find, for each packet, what the plain way does."""
    for packet in packets:
        assert built.matching(packet) == plain(built.rows, packet), packet
