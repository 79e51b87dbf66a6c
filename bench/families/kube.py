"""Chains as kube-proxy makes them: one long services chain, a small chain behind each rule.

-A KUBE-SERVICES -d 10.96.0.7/32 -p udp -m comment --comment "a/b:p" -m udp --dport 53 -j KUBE-FW-…

A service's chain takes the source ranges that may use it and drops the rest, as
loadBalancerSourceRanges does.
"""

from __future__ import annotations

import base64
import hashlib

import numpy as np
from numpy.typing import NDArray

from bench.families.model import (
    PACKET,
    UDP,
    Family,
    Packets,
    Verdicts,
    Words,
    dotted,
    rows_evenly,
    saved,
    unicast,
)

_SERVICES = 0x0A60_0000  # 10.96.0.0/12 and on
_RANGES = 3
_EACH = 1 + _RANGES + 1  # in the services chain; ranges and the drop behind it
_WORST = 16
_SMALLEST = 1 + _EACH


def make(rules: int, seed: int, verdicts: Verdicts) -> Family:
    """Make the family; with room for less than one service it has one all the same."""
    rng = np.random.default_rng([seed, rules])
    services = max(1, (rules - 1) // _EACH)
    left = max(rules, _SMALLEST) - 1 - services * _EACH
    targets = (_SERVICES + np.arange(services)).astype(np.uint32)
    ports = rng.integers(1, 32_768, services)
    ranges = unicast(services * _RANGES, rng).reshape(services, _RANGES) & np.uint32(0xFFFF_FF00)
    accept = "ACCEPT" if verdicts is Verdicts.MIXED else "DROP"
    text = saved(_chains(targets, ports, ranges, accept, left))
    packets = _packets(rows_evenly(services * (_RANGES + 1), rng), targets, ports, ranges, rng)
    last = np.full(_WORST, services * (_RANGES + 1) - 1)
    worst = _packets(last, targets, ports, ranges, rng)
    return Family("kube", 1 + services * _EACH + left, text, packets, worst)


def _name(number: int) -> str:
    digest = hashlib.sha256(b"ns%d/svc%d" % (number % 100, number)).digest()
    return f"KUBE-FW-{base64.b32encode(digest).decode()[:16]}"


def _chains(
    targets: Words, ports: NDArray[np.int64], ranges: Words, accept: str, left: int
) -> dict[str, list[str]]:
    # What the number asked for leaves over are services that have no endpoints.
    unserved = dotted((_SERVICES + len(targets) + np.arange(left)).astype(np.uint32))
    dispatch = [f"-A KUBE-SERVICES -d {address}/32 -p udp -j DROP" for address in unserved]
    comment = '-m comment --comment "kubernetes service portals"'
    chains = {"FORWARD": [f"-A FORWARD {comment} -j KUBE-SERVICES"], "KUBE-SERVICES": dispatch}
    services = zip(dotted(targets), ports.tolist(), _range_texts(ranges), strict=True)
    for number, (target, port, sources) in enumerate(services):
        name = _name(number)
        comment = f'-m comment --comment "ns{number % 100}/svc{number}:p"'
        dispatch.append(
            f"-A KUBE-SERVICES -d {target}/32 -p udp {comment} -m udp --dport {port} -j {name}"
        )
        chains[name] = [f"-A {name} -s {source}/24 {comment} -j {accept}" for source in sources]
        chains[name].append(f"-A {name} {comment} -j DROP")
    return chains


def _range_texts(ranges: Words) -> list[list[str]]:
    texts = dotted(ranges.ravel())
    return [texts[start : start + _RANGES] for start in range(0, len(texts), _RANGES)]


def _packets(
    rows: NDArray[np.int64],
    targets: Words,
    ports: NDArray[np.int64],
    ranges: Words,
    rng: np.random.Generator,
) -> Packets:
    # Row r is rule r % (_RANGES + 1) of the chain of a service; its last one drops what is
    # of none of the ranges.
    service, which = np.divmod(rows, _RANGES + 1)
    out = np.zeros(len(rows), PACKET)
    inside = ranges[service, np.minimum(which, _RANGES - 1)]
    host = rng.integers(256, size=len(rows), dtype=np.uint32)
    outside = np.uint32(0x7E00_0000) | rng.integers(1 << 24, size=len(rows), dtype=np.uint32)
    out["saddr"] = np.where(which < _RANGES, inside | host, outside)
    out["daddr"] = targets[service]
    out["sport"] = rng.integers(1024, 65_535, len(rows))
    out["dport"] = ports[service]
    out["proto"] = UDP
    out["rule"] = -1
    return out
