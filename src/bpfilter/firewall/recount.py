"""Counters of rules that were taken over: what was counted until ours were in force, too.

Rules are read with their counters, and are in force as eBPF some time later; packets that pass
in between count in the kernel's table alone. So they are read again right after, while both are
in force. Packets that a rule of ours drops do not come to the kernel's any more: there the
counts add up. Others both have counted: there the higher count is the one that has all, but
for packets that a later rule drops, of which some that came in these milliseconds may be
missing.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.dataclass import dataclass
from bpfilter.firewall.counters import FIRST_RULE
from bpfilter.firewall.edit import beginning
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.store import Store
from bpfilter.rules.model import TABLES

_COUNTED = re.compile(rb"^(?:\[(\d+):(\d+)\] -A ([^\n]*)|:(\S+) (\S+) \[(\d+):(\d+)\])", re.M)


@dataclass(frozen=True, slots=True)
class _Count:
    packets: int
    bytes: int
    drops: bool


def add_missed(store: Store, generation: Generation, before: bytes, after: bytes) -> None:
    """Let counters show what was counted in `after` and not in `before`, which the generation
    began with; both are texts of its rules with counters. The caller holds the lock."""
    order = store.records.order(generation)
    had = dict(_counts(before))
    more = {place: now for place, now in _counts(after) if now != had.get(place)}
    indexes = {_index(place, order): place for place in more}
    if not indexes:
        return
    begins = {}
    for index, since in zip(indexes, store.live_of(generation, indexes), strict=True):
        place = indexes[index]
        begins[index] = _both(had[place], more[place], since)
    base = store.records.base(generation)
    store.records.write_base(generation, beginning(store, generation, base, begins))


def _both(had: _Count, now: _Count, since: tuple[int, int]) -> tuple[int, int]:
    packets, octets = since
    if now.drops:
        return now.packets + packets, now.bytes + octets
    return max(had.packets + packets, now.packets), max(had.bytes + octets, now.bytes)


def _index(place: int, order: array[int] | None) -> int:
    if place < 0:
        return COUNTER_FIRST - 1 - place
    return FIRST_RULE + place if order is None else order[place]


# Places of rules, from 0, and of policies, -1 and down, with what was counted.
def _counts(text: bytes) -> Iterator[tuple[int, _Count]]:
    rule = 0
    policies = {name.encode(): at for at, name in enumerate(TABLES["filter"])}
    for packets, octets, line, chain, policy, *of_chain in _COUNTED.findall(text):
        if not chain:
            yield rule, _Count(int(packets), int(octets), line.endswith(b" -j DROP"))
            rule += 1
        elif chain in policies:
            packets, octets = of_chain
            yield -1 - policies[chain], _Count(int(packets), int(octets), policy == b"DROP")
