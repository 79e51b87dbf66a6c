"""Counters: read from the kernel, carried from one ruleset to the next, zeroed.

The kernel side only ever counts up (atomically, per CPU). What a user sees is that sum
plus a base kept in a file, modulo 2^64, so zeroing and carrying over never write to
memory in which packets are being counted, and lose none.
"""

from __future__ import annotations

from array import array
from collections import defaultdict, deque
from collections.abc import Sequence
from mmap import mmap

from bpfilter.compiler.cells import COUNTER_FIRST
from bpfilter.rules.model import Chain, Counters, Rule, Table

U64 = (1 << 64) - 1
PAIR_BYTES = 16


def sum_cpus(raw: bytes | mmap, per_cpu: int, cpus: int) -> list[int]:
    """Sum the counters map over CPUs; gives packets, bytes, packets, bytes, … per counter.

    Raises: ValueError if there is not as much.
    """
    width = 2 * per_cpu
    with memoryview(raw) as memory, memory.cast("Q") as values:
        if len(values) < width * cpus:
            raise ValueError(f"{len(values)} numbers, not {cpus} times {width}")
        total = [0] * width
        for start in range(0, width * cpus, width):
            total = add(total, values[start : start + width].tolist())
    return total


def add(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return [(a + b) & U64 for a, b in zip(left, right, strict=True)]


def negate(values: Sequence[int]) -> list[int]:
    return [-value & U64 for value in values]


def pack(values: Sequence[int]) -> bytes:
    return array("Q", values).tobytes()


def unpack(raw: bytes) -> list[int]:
    """Raises: ValueError if these are not whole numbers of 8 bytes."""
    values = array("Q")
    values.frombytes(raw)
    return values.tolist()


def places(table: Table) -> list[tuple[Chain, Rule | None]]:
    """Give what each counter belongs to, in map order after the first `COUNTER_FIRST`:
    policies of the base chains (rule None), then all rules. As `compiler.lower` numbers them."""
    policies = [(chain, None) for chain in table.chains if chain.policy is not None]
    return policies + [(chain, rule) for chain in table.chains for rule in chain.rules]


def carry(old: Table, new: Table, values: Sequence[int], seed: bool) -> list[int]:
    """Give a new table's base: values of rules that stayed, else what its text says or zero.

    A rule stayed if an equal one is in the chain of the same name; of several equal ones
    the first keeps the first one's counters, and so on.
    """
    kept: dict[tuple[str, Rule | None], deque[int]] = defaultdict(deque)
    for index, (chain, rule) in enumerate(places(old), COUNTER_FIRST):
        kept[chain.name, rule].append(index)
    base = [0] * (2 * COUNTER_FIRST)
    for chain, rule in places(new):
        waiting = kept.get((chain.name, rule))
        if waiting:
            index = waiting.popleft()
            base += values[2 * index : 2 * index + 2]
        else:
            base += _written(chain, rule) if seed else [0, 0]
    return base


def _written(chain: Chain, rule: Rule | None) -> list[int]:
    counters = chain.counters if rule is None else rule.counters
    return [counters.packets, counters.bytes]


def with_counters(table: Table, values: Sequence[int]) -> Table:
    """Give the table with `values` (as `sum_cpus` gives them) in its chains and rules."""
    from dataclasses import replace

    pairs = iter(
        [
            Counters(packets, octets)
            for packets, octets in zip(
                values[2 * COUNTER_FIRST :: 2], values[2 * COUNTER_FIRST + 1 :: 2], strict=True
            )
        ]
    )
    policies = {chain.name: next(pairs) for chain in table.chains if chain.policy is not None}
    chains = []
    for chain in table.chains:
        rules = tuple(replace(rule, counters=next(pairs)) for rule in chain.rules)
        own = policies.get(chain.name, chain.counters)
        chains.append(replace(chain, rules=rules, counters=own))
    return replace(table, chains=tuple(chains))
