"""Chains as firewalld makes them: zones by source and interface, sub-chains in each.

-A FORWARD_ZONES -s 10.0.64.0/18 -g FWD_zone1
-A FWD_zone1 -j FWD_zone1_deny
-A FWD_zone1_deny -s 10.0.71.5/32 -p udp -m udp --dport 4711 -j DROP

Rules of the `_log` chains have no target: they count and go on, as LOG would.
"""

from __future__ import annotations

from math import isqrt

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
    mask,
    rows_evenly,
    saved,
    unicast,
)

_ZONES = 0x0A00_0000  # zone z has the z-th /18 of 10.0.0.0/8
_ZONE_BITS = 14
_MOST_ZONES = 1000
_PARTS = ("pre", "log", "deny", "allow", "post")
_FRAME = 1 + len(_PARTS) + 1  # dispatch, jumps to the parts, the drop behind them
_WORST = 16
_DEFAULT = "public"
LOG, DENY, ALLOW = range(3)


def make(rules: int, seed: int, verdicts: Verdicts) -> Family:
    """Make the family: zones by source, as many by interface (empty), and a default zone."""
    rng = np.random.default_rng([seed, rules])
    zones = min(isqrt(max(rules, 1) // 40), _MOST_ZONES)
    frame = 1 + _FRAME + zones * 2 * _FRAME
    details = max(1, rules - frame)
    zone = np.sort(rng.integers(zones + 1, size=details))  # the last one is the default
    part = rng.choice((LOG, DENY, ALLOW), details, p=(0.1, 0.5, 0.4))
    part[-1] = DENY
    source = _sources(zone, zones, rng)
    target_length = np.where(part == ALLOW, rng.integers(24, 33, details), 0)
    target = unicast(details, rng) & mask(target_length)
    port = rng.integers(1, 65_535, details)
    names = [*(f"zone{number}" for number in range(zones)), _DEFAULT]
    chains = _frame(zones)
    _add_details(
        chains, [names[number] for number in zone], part, source, target, target_length, port
    )
    text = saved(chains)
    if verdicts is Verdicts.DROP:
        text = text.replace("-j ACCEPT", "-j DROP")
    rows = rows_evenly(details, rng)
    packets = _packets(rows, source, target, target_length, port, rng)
    inside = part[rows] == ALLOW
    hosts = _sources(zone[rows], zones, rng)
    packets["saddr"] = np.where(inside, hosts, packets["saddr"])
    return Family("firewalld", frame + details, text, packets, _worst(rng))


def _sources(zone: NDArray[np.int64], zones: int, rng: np.random.Generator) -> Words:
    # Hosts of zones; those of the default zone are of no network of the others.
    host = rng.integers(1 << _ZONE_BITS, size=len(zone))
    in_zone = _ZONES + (zone << _ZONE_BITS) + host
    elsewhere = 0x6400_0000 + rng.integers(1 << 24, size=len(zone))
    return np.where(zone == zones, elsewhere, in_zone).astype(np.uint32)


def _frame(zones: int) -> dict[str, list[str]]:
    # What firewalld writes whatever the zones contain.
    dispatch: list[str] = []
    chains = {"FORWARD": ["-A FORWARD -j FORWARD_ZONES"], "FORWARD_ZONES": dispatch}
    networks = dotted((_ZONES + (np.arange(zones) << _ZONE_BITS)).astype(np.uint32))
    prefix = 32 - _ZONE_BITS
    for number, network in enumerate(networks):
        dispatch.append(f"-A FORWARD_ZONES -s {network}/{prefix} -g FWD_zone{number}")
        _add_zone(chains, f"zone{number}")
    for number in range(zones):
        dispatch.append(f"-A FORWARD_ZONES -i vlan{number} -g FWD_vlan{number}")
        _add_zone(chains, f"vlan{number}")
    dispatch.append(f"-A FORWARD_ZONES -g FWD_{_DEFAULT}")
    _add_zone(chains, _DEFAULT)
    return chains


def _add_zone(chains: dict[str, list[str]], name: str) -> None:
    zone = f"FWD_{name}"
    chains[zone] = [f"-A {zone} -j {zone}_{part}" for part in _PARTS]
    chains[zone].append(f"-A {zone} -j DROP")
    chains.update({f"{zone}_{part}": [] for part in _PARTS})


def _add_details(
    chains: dict[str, list[str]],
    zones: list[str],
    part: NDArray[np.int64],
    source: Words,
    target: Words,
    target_length: NDArray[np.int64],
    port: NDArray[np.int64],
) -> None:
    columns = (part.tolist(), dotted(source), dotted(target), target_length.tolist())
    for zone, where, host, network, length, dport in zip(
        zones, *columns, port.tolist(), strict=True
    ):
        ports = f"-p udp -m udp --dport {dport}"
        if where == LOG:
            chain, rest = f"FWD_{zone}_log", f"-s {host}/32 {ports}"
        elif where == DENY:
            chain, rest = f"FWD_{zone}_deny", f"-s {host}/32 {ports} -j DROP"
        else:
            chain, rest = f"FWD_{zone}_allow", f"-d {network}/{length} {ports} -j ACCEPT"
        chains[chain].append(f"-A {chain} {rest}")


def _packets(
    rows: NDArray[np.int64],
    source: Words,
    target: Words,
    target_length: NDArray[np.int64],
    port: NDArray[np.int64],
    rng: np.random.Generator,
) -> Packets:
    out = np.zeros(len(rows), PACKET)
    out["saddr"] = source[rows]
    out["daddr"] = target[rows] | (unicast(len(rows), rng) & ~mask(target_length[rows]))
    out["sport"] = rng.integers(1024, 65_535, len(rows))
    out["dport"] = port[rows]
    out["proto"] = UDP
    out["rule"] = -1
    return out


def _worst(rng: np.random.Generator) -> Packets:
    # Of the default zone, and of none of its rules: port 0.
    out = np.zeros(_WORST, PACKET)
    out["saddr"] = 0x6400_0000 + rng.integers(1 << 24, size=_WORST)
    out["daddr"] = unicast(_WORST, rng)
    out["sport"] = rng.integers(1024, 65_535, _WORST)
    out["proto"] = UDP
    out["rule"] = -1
    return out
