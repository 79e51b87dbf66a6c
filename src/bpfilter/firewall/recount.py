"""Counters of rules that were taken over: what was counted until ours were in force, too.

Rules are read with their counters, and are in force as eBPF some time later; packets that pass
in between count in the kernel's table alone. So they are read again right after: a rule that
counted more there than it began with here and has counted since, counts as much. Packets that
both have counted are not counted twice; of those that ours drop, which the kernel's do not see
any more, as many as come in these milliseconds may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.firewall.counters import FIRST_RULE
from bpfilter.firewall.edit import beginning
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.store import Store
from bpfilter.rules.model import TABLES

_COUNTED = re.compile(rb"^(?:\[(\d+):(\d+)\] -A |:(\S+) \S+ \[(\d+):(\d+)\])", re.M)


def add_missed(store: Store, generation: Generation, before: bytes, after: bytes) -> None:
    """Let counters be as in `after` where that is more; both are texts of the same rules with
    counters, `before` what the generation began with. The caller holds the lock."""
    order = store.records.order(generation)
    had = dict(_counters(before))
    more = {place: now for place, now in _counters(after) if now != had.get(place)}
    indexes = {
        COUNTER_FIRST - 1 - place
        if place < 0
        else (FIRST_RULE + place if order is None else order[place]): place
        for place in more
    }
    if not indexes:
        return
    begins = {}
    for index, since in zip(indexes, store.live_of(generation, indexes), strict=True):
        began, now = had[indexes[index]], more[indexes[index]]
        begins[index] = max(began[0] + since[0], now[0]), max(began[1] + since[1], now[1])
    base = store.records.base(generation)
    store.records.write_base(generation, beginning(store, generation, base, begins))


# Places of rules, from 0, and of policies, -1 and down, with packets and bytes.
def _counters(text: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    rule = 0
    policies = {name.encode(): at for at, name in enumerate(TABLES["filter"])}
    for packets, octets, chain, of_chain, octets_of_chain in _COUNTED.findall(text):
        if not chain:
            yield rule, (int(packets), int(octets))
            rule += 1
        elif chain in policies:
            yield -1 - policies[chain], (int(of_chain), int(octets_of_chain))
