"""What an index is made of, as read from its bytes, and the packets that cost it most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.bulk_layout import CELL
from bpfilter.compiler.cells import CELLS_MAP, Op
from bpfilter.compiler.index import layout
from bpfilter.compiler.index.layout import Entry
from bpfilter.compiler.index.rows import hash_rows
from bpfilter.compiler.index.search import INDEX_MAP
from bpfilter.compiler.index.walk import Packet, Walk, walk
from bpfilter.plan import fields
from tests.harness.large.reference import Ints, Packets
from tests.harness.large.runs import Large, around_words

Words = NDArray[np.uint32]

#: One that no rule asks for.
NO_PROTOCOL = 0xFF


@dataclass(eq=False)
class Table:
    """A chain's table of a tuple: masks, and for each entry the most steps it may take."""

    masks: Words
    shift: int
    entries: list[Entry]
    cost: Ints


@dataclass(eq=False)
class View:
    """The index of a chain in one view: its descriptor, and what that leads to."""

    descriptor: int
    tables: list[Table]
    cuts: int = 0
    long_runs: int = 0


def chains(large: Large) -> dict[str, list[int]]:
    """Give the descriptors of each chain that is searched, one for each view."""
    cells = np.frombuffer(large.compiled.maps[CELLS_MAP].contents or b"", CELL)
    # Chains were built one behind the other, each with its descriptors behind its tables.
    first = np.unique(cells["hi"][cells["op"] == Op.FIND]).tolist()
    return {
        index.chain: [at + view * layout.DESCRIPTOR_BYTES for view in range(layout.VIEWS)]
        for index, at in zip(large.compiled.indexes, first, strict=True)
    }


def memory(large: Large) -> bytes:
    return large.compiled.maps[INDEX_MAP].contents or b""


def read_view(large: Large, descriptor: int) -> View:
    """Read all of a chain's index in one view."""
    index = memory(large)
    searched, _, at, *_ = layout.DESCRIPTOR.unpack_from(index, descriptor)
    view = View(descriptor, [])
    for number, each in enumerate(large.search.tuples):
        if searched >> number & 1:
            base, shift, _ = layout.TABLE.unpack_from(index, at + number * layout.TABLE_BYTES)
            entries = _entries(index, base, 1 << (64 - shift))
            cost = np.array([_cost(index, entry, view, 0) for entry in entries])
            view.tables.append(Table(np.array(each.masks, np.uint32), shift, entries, cost))
    return view


def _entries(index: bytes, at: int, count: int) -> list[Entry]:
    return [Entry.read(index, at + layout.ENTRY_BYTES * number) for number in range(count)]


def _cost(index: bytes, entry: Entry, view: View, depth: int) -> int:
    if entry.count == layout.ENTRY_LONG:
        view.long_runs += 1
        return int(layout.LONG_RUN.unpack_from(index, entry.offset)[0])
    if entry.count != layout.ENTRY_CUT:
        return entry.count
    assert depth < layout.MAX_CUTS
    view.cuts += 1
    children = _entries(index, entry.offset, 1 << entry.cut[2])
    return 1 + max(_cost(index, child, view, depth + 1) for child in children)


def structures(large: Large) -> set[str]:
    """Name what the indexes of a table are made of."""
    found = set()
    for descriptors in chains(large).values():
        views = [read_view(large, descriptor) for descriptor in descriptors]
        found |= _parts(views[0])
        tables = {memory(large)[at : at + layout.DESCRIPTOR_BYTES] for at in descriptors}
        found |= {"views"} if len(tables) > 1 else set()
    return found | ({"chains"} if len(large.compiled.indexes) > 1 else set())


def _parts(view: View) -> set[str]:
    parts = {
        "tuples": len(view.tables) > 1,
        "cuts": view.cuts > 0,
        "long runs": view.long_runs > 0,
    }
    return {name for name, is_there in parts.items() if is_there}


def key_words(large: Large, packets: Packets) -> Words:
    """Give the key words of packets whose headers are whole, as the programs read them."""
    upper, around = packets.upper, around_words(packets)
    values: dict[str, list[NDArray[np.generic]]] = {
        fields.SADDR.name: [*packets.source],
        fields.DADDR.name: [*packets.destination],
        fields.IIF.name: [*around[:, :4].T],
        fields.OIF.name: [*around[:, 4:8].T],
        fields.MARK.name: [packets.mark],
        fields.CT_STATE.name: [packets.state],
        fields.SPORT.name: [upper.source_port],
        fields.DPORT.name: [upper.target_port],
        fields.TCP_FLAGS.name: [upper.flags],
        fields.ICMP_TYPE.name: [upper.kind],
        fields.ICMP_CODE.name: [upper.code],
        fields.PROTO.name: [upper.protocol],
    }
    words = np.zeros((len(packets), large.key.count), np.uint32)
    for (name, word), place in large.frame.places.items():
        if place.slot in large.search.keys and name in values:
            value = values[name][word].astype(np.uint32) << np.uint32(place.shift)
            words[:, large.search.keys.index(place.slot)] |= value
    return words


class Adversary:
    """Looks for packets that cost a chain's index most, knowing all of it.

    Words of packets that come near rules are put together anew, masked as tuples mask them
    and filled up at random. The dearest by the buckets they come to are walked through, and
    then changed as long as that makes them dearer: word by word, or so that cuts lead on to
    the longest run.
    """

    def __init__(self, large: Large, descriptor: int, near: Words, seed: int) -> None:
        self.large = large
        self.index = memory(large)
        self.view = read_view(large, descriptor)
        self.near = near
        self.random = np.random.default_rng(seed)

    def worst(self, candidates: int = 100_000, rounds: int = 200) -> tuple[Words, int]:
        """Give the dearest packet of those tried, and the steps it takes."""
        if not self.view.tables:
            return self.near[0], 0
        drawn = self._draw(candidates)
        dearest = drawn[np.argsort(-self._bound(drawn), kind="stable")[:20]]
        for words in dearest:
            for each in self.view.tables:
                self._aim(words, each)
        costs = [self.steps(words) for words in dearest]
        best, most = dearest[int(np.argmax(costs))], max(costs)
        for _ in range(rounds):
            words = self._changed(best)
            steps = self.steps(words)
            if steps >= most:
                best, most = words, steps
        return best, most

    def _changed(self, best: Words) -> Words:
        words, kind = best.copy(), self.random.integers(3)
        if kind == 0:
            self._aim(words, self.view.tables[self.random.integers(len(self.view.tables))])
            return words
        at = self.random.integers(len(words))
        words[at] = self.near[self.random.integers(len(self.near)), at]
        if kind == 1:
            words[at] ^= np.uint32(1) << np.uint32(self.random.integers(32))
        return words

    def _aim(self, words: Words, at: Table) -> None:
        """Change words so that the cuts of a table's bucket lead to its longest run."""
        entry = at.entries[int(hash_rows(words[None], at.masks)[0] >> np.uint64(at.shift))]
        while entry.count == layout.ENTRY_CUT:
            slot, shift, bits = entry.cut
            number = self.large.key.slots.index(slot)
            children = _entries(self.index, entry.offset, 1 << bits)
            costs = [_cost(self.index, child, self.view, 1) for child in children]
            child = int(np.argmax(costs))
            window = np.uint32(((1 << bits) - 1) << shift)
            words[number] = words[number] & ~window | np.uint32(child << shift)
            entry = children[child]

    def _draw(self, n: int) -> Words:
        count = self.near.shape[1]
        which = self.random.integers(len(self.near), size=(n, count))
        mixed = self.near[which, np.arange(count)]
        together = self.random.random(n) < 0.5
        mixed[together] = self.near[which[together, 0]]
        noise = self.random.integers(0, 1 << 32, mixed.shape, np.uint32)
        of = self.random.integers(len(self.view.tables), size=n)
        masks = np.array([each.masks for each in self.view.tables])[of]
        filled = self.random.random(mixed.shape) < 0.3
        return np.where(filled, mixed & masks | noise & ~masks, mixed)

    def _bound(self, words: Words) -> Ints:
        total = np.zeros(len(words), np.int64)
        for each in self.view.tables:
            place = hash_rows(words, each.masks) >> np.uint64(each.shift)
            total += each.cost[place.astype(np.int64)]
        return total

    def steps(self, words: Words) -> int:
        """Give the most steps of a packet with such words: of some protocols, from any rule on."""
        most = 0
        for protocol in (NO_PROTOCOL, 6, 17):
            start = 0
            for _ in range(3):
                took = self.walk(words, protocol, start)
                most = max(most, took.steps)
                if took.found is None:
                    break
                start = took.found.order + 1
        return most

    def walk(self, words: Words, protocol: int = NO_PROTOCOL, start: int = 0) -> Walk:
        key, listed = self.large.key, words.tolist()
        ports = 0 if key.ports is None else listed[key.ports]
        packet = Packet(listed, ports, protocol)
        return walk(self.index, self.view.descriptor, key, self.large.search.tuples, packet, start)


def views(large: Large) -> Iterator[tuple[str, int]]:
    """Give each searched chain with the descriptors of its views, equal ones once."""
    for chain, descriptors in chains(large).items():
        tables = {memory(large)[at : at + layout.DESCRIPTOR_BYTES]: at for at in descriptors}
        for at in tables.values():
            yield chain, at
