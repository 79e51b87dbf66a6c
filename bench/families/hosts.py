"""Distinct hosts and ports, as a blocklist has them: no packet matches two rules.

-A FORWARD -s 10.7.1.93/32 -p udp -m udp --dport 4711 -j DROP
"""

from __future__ import annotations

import numpy as np

from bench.families.model import (
    ANY_PORT,
    UDP,
    Boxes,
    Family,
    Verdicts,
    lines,
    packets_in,
    rows_evenly,
    saved,
)

_NETWORK = 10 << 24
_MOST = 1 << 24
_FIRST_PORT, _PORTS = 1024, 60_000
_WORST = 64


def make(rules: int, seed: int, verdicts: Verdicts) -> Family:
    """Make the family; rules drop, half of them with mixed verdicts."""
    rng = np.random.default_rng([seed, rules])
    boxes = _boxes(rules, rng)
    drops = np.ones(rules, bool) if verdicts is Verdicts.DROP else rng.random(rules) < 0.5
    drops[-1] = True
    text = saved({"FORWARD": lines(boxes, np.where(drops, "DROP", "ACCEPT").tolist())})
    packets = packets_in(boxes, rows_evenly(rules, rng), rng)
    worst = packets_in(boxes, np.full(_WORST, rules - 1), rng)
    return Family("hosts", rules, text, packets, worst, exact=True)


def _boxes(rules: int, rng: np.random.Generator) -> Boxes:
    # An odd multiplier permutes the 2^24 hosts of 10.0.0.0/8: all different, none in order.
    if rules > _MOST:
        raise ValueError(f"{rules} rules are more than 10.0.0.0/8 has hosts")
    numbers = (np.arange(rules) * 0x9E_3779 + rng.integers(_MOST)) % _MOST
    ports = _FIRST_PORT + rng.integers(_PORTS, size=rules)
    return Boxes(
        source=(_NETWORK | numbers).astype(np.uint32),
        source_length=np.full(rules, 32),
        target=np.zeros(rules, np.uint32),
        target_length=np.zeros(rules, np.int64),
        proto=np.full(rules, UDP, np.uint8),
        sports=np.tile(np.array(ANY_PORT, np.uint16), (rules, 1)),
        dports=np.column_stack([ports, ports]).astype(np.uint16),
    )
