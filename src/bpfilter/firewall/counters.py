"""Counters: read from the kernel, carried from one ruleset to the next, zeroed.

The kernel side only ever counts up (atomically, per CPU). What a user sees is that sum
plus a base kept in a file, modulo 2^64, so zeroing and carrying over never write to
memory in which packets are being counted, and lose none.

Here all counters of a ruleset are bytes, as they lie in memory and in files: for each a
pair of u64 in the machine's order, packets and bytes. A hundred thousand are added up as
one large number, in which no sum may run over into its neighbour.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from mmap import mmap

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.dataclass import replace
from bpfilter.rules.model import TABLES, Counters, Table

PAIR_BYTES = 16
#: The first counter of a rule: before it come those of the policies.
FIRST_RULE = COUNTER_FIRST + len(TABLES["filter"])

_U64 = 8
_LOW = b"\xff" * 8


def sum_cpus(raw: bytes | mmap, per_cpu: int, cpus: int) -> bytes:
    """Sum the counters map over CPUs.

    Raises: ValueError if there is not as much.
    """
    width = PAIR_BYTES * per_cpu
    if len(raw) < width * cpus:
        raise ValueError(f"{len(raw)} bytes, not {cpus} times {width}")
    total = raw[:width]
    for start in range(width, width * cpus, width):
        total = add(total, raw[start : start + width])
    return total


def sum_one(raw: bytes | mmap, per_cpu: int, cpus: int, counter: int) -> tuple[int, int]:
    """Sum one counter over CPUs: packets, bytes. Raises: ValueError as `sum_cpus`."""
    width = PAIR_BYTES * per_cpu
    if len(raw) < width * cpus:
        raise ValueError(f"{len(raw)} bytes, not {cpus} times {width}")
    starts = range(PAIR_BYTES * counter, width * cpus, width)
    values = unpack(b"".join([raw[start : start + PAIR_BYTES] for start in starts]))
    return sum(values[::2]), sum(values[1::2])


def add(left: bytes, right: bytes) -> bytes:
    """Add each to each, modulo 2^64."""
    assert len(left) == len(right)
    if right == bytes(len(right)):
        return left
    if left == bytes(len(left)):
        return right
    a, b = _number(left), _number(right)
    low, top = _lanes(len(left))
    # The top bits are added without carry, so that none leaves its 64 bits.
    return (((a & low) + (b & low)) ^ ((a ^ b) & top)).to_bytes(len(left), sys.byteorder)


def negate(values: bytes) -> bytes:
    """Give what is zero when added to `values`."""
    ones = _number(_LOW * (len(values) // _U64))
    flipped = (_number(values) ^ ones).to_bytes(len(values), sys.byteorder)
    return add(flipped, (1).to_bytes(_U64, sys.byteorder) * (len(values) // _U64))


def _number(values: bytes) -> int:
    return int.from_bytes(values, sys.byteorder)


# Masks of the lower 63 bits and of the highest bit of each u64.
@lru_cache(maxsize=1)
def _lanes(width: int) -> tuple[int, int]:
    top = _number((1 << 63).to_bytes(_U64, sys.byteorder) * (width // _U64))
    return _number(_LOW * (width // _U64)) ^ top, top


def pack(values: Sequence[int]) -> bytes:
    return array("Q", values).tobytes()


def unpack(raw: bytes) -> array[int]:
    """Give packets, bytes, packets, bytes, …

    Raises: ValueError if these are not whole numbers of 8 bytes.
    """
    values = array("Q")
    values.frombytes(raw)
    return values


def of_lines(values: bytes, order: array[int] | None, rules: int) -> bytes:
    """Give the counters of the rules in the order of their lines; see Records.order."""
    if order is None:
        return values[PAIR_BYTES * FIRST_RULE : PAIR_BYTES * (FIRST_RULE + rules)]
    return pick(values, order)


def pick(values: bytes, indexes: Sequence[int]) -> bytes:
    """Give the counters of these indexes; zero for those of -1."""
    numbers = unpack(values)
    picked = array("Q", bytes(PAIR_BYTES * len(indexes)))
    for part in (0, 1):
        column = numbers[part::2]
        column.append(0)  # what -1 finds
        picked[part::2] = array("Q", map(column.__getitem__, indexes))
    return picked.tobytes()


def of_base_chains(values: bytes) -> list[tuple[int, int]]:
    """Give packets and bytes of each policy."""
    numbers = iter(unpack(values[PAIR_BYTES * COUNTER_FIRST : PAIR_BYTES * FIRST_RULE]))
    return list(zip(numbers, numbers, strict=True))


def replaced(values: bytes, by: bytes, indexes: Iterable[int]) -> bytes:
    """Give counters, those of some indexes taken from others."""
    made = bytearray(values)
    for index in indexes:
        at = PAIR_BYTES * index
        made[at : at + PAIR_BYTES] = by[at : at + PAIR_BYTES]
    return bytes(made)


def kept_policies(values: bytes, origin: Sequence[int], seed: bytes) -> bytes:
    """Give counters in the order of the map, in which policies of origin -1 begin anew."""
    anew = [COUNTER_FIRST + at for at, found in enumerate(origin) if found < 0]
    return replaced(values, seed, anew)


def placed(policies: bytes, lines: bytes, order: array[int] | None, per_cpu: int) -> bytes:
    """Give counters in the order of the map: those of the policies, which `policies` begins
    with behind the first `COUNTER_FIRST`, and those of the lines."""
    known = bytes(PAIR_BYTES * COUNTER_FIRST)
    known += policies[len(known) : PAIR_BYTES * FIRST_RULE]
    if order is None:
        return (known + lines).ljust(PAIR_BYTES * per_cpu, b"\0")
    line_of = array("i", [-1]) * (per_cpu - FIRST_RULE)
    for line, counter in enumerate(order):
        line_of[counter - FIRST_RULE] = line
    return known + pick(lines, line_of)


def written(table: Table) -> bytes:
    """Give the counters that stand in a table, in the order of the map: after the first
    `COUNTER_FIRST`, policies of the base chains, then all rules (see compiler/lower.py)."""
    rules = [rule.counters for chain in table.chains for rule in chain.rules]
    policies = [chain.counters for chain in table.chains if chain.policy is not None]
    return of_policies(policies) + _packed(rules)


def of_policies(policies: Sequence[Counters]) -> bytes:
    """Give what comes before the counters of rules."""
    return bytes(PAIR_BYTES * COUNTER_FIRST) + _packed(policies)


def _packed(counts: Sequence[Counters]) -> bytes:
    return pack([number for each in counts for number in (each.packets, each.bytes)])


def with_counters(table: Table, values: Sequence[int]) -> Table:
    """Give the table with `values`, in the order of `written`, in its chains and rules."""
    pairs = iter(
        [
            Counters(packets, octets)
            for packets, octets in zip(values[::2], values[1::2], strict=True)
        ][COUNTER_FIRST:]
    )
    policies = {chain.name: next(pairs) for chain in table.chains if chain.policy is not None}
    chains = []
    for chain in table.chains:
        rules = tuple(replace(rule, counters=next(pairs)) for rule in chain.rules)
        own = policies.get(chain.name, chain.counters)
        chains.append(replace(chain, rules=rules, counters=own))
    return replace(table, chains=tuple(chains))
