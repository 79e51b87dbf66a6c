"""What the ClassBench-like families are drawn from: one seed for each kind of filter set.

The method is that of D. Taylor and J. Turner, "ClassBench: A Packet Classification
Benchmark" (INFOCOM 2005), whose seeds were taken from real filter sets of three kinds. The
figures here are this project's own, rounded, in the spirit of the paper's description of
those kinds; they are not the published seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.families.model import ICMP, TCP, UDP

#: Weights by prefix length.
Lengths = dict[int, float]

HOST: Lengths = {32: 1.0}
WILD: Lengths = {0: 1.0}
SITE: Lengths = {8: 1, 10: 1, 12: 2, 14: 3, 15: 2, 16: 12, 17: 3, 18: 4, 19: 5, 20: 7, 21: 6}
LAN: Lengths = {22: 6, 23: 7, 24: 30, 25: 6, 26: 8, 27: 9, 28: 10, 29: 8, 30: 7, 31: 2}
SHORT: Lengths = {1: 1, 2: 2, 3: 2, 4: 3, 5: 2, 6: 3, 7: 2, 8: 4}


@dataclass(frozen=True, slots=True)
class Tree:
    """The shape of the address tree that prefixes of one side are taken from.

    A node of depth d has two children with probability `branching[d // 8]`; the heavier one
    gets `skew[d // 8]` of what lies below both.
    """

    branching: tuple[float, float, float, float]
    skew: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Seed:
    """`lengths`: weight, source lengths, destination lengths, drawn as pairs.

    `smoothing` is the chance of a length to move by one, done twice (0 and 32 stay).
    `correlation` is the chance that source and destination are of one network, for the first
    `correlated` bits. `protocols`: weight by protocol (0: any); `ports`: weight by the pair
    of port classes "source-destination" for protocols that have ports.
    """

    lengths: tuple[tuple[float, Lengths, Lengths], ...]
    smoothing: float
    source: Tree
    target: Tree
    correlation: float
    correlated: int
    protocols: dict[int, float]
    ports: dict[str, float]
    drops: float


ACL = Seed(
    lengths=(
        (0.34, LAN, HOST),
        (0.20, HOST, HOST),
        (0.14, LAN, LAN),
        (0.10, SITE, HOST),
        (0.08, SITE, LAN),
        (0.05, HOST, LAN),
        (0.04, WILD, HOST),
        (0.025, WILD, LAN),
        (0.01, SITE, SITE),
        (0.01, HOST, SITE),
        (0.005, WILD, SITE),
    ),
    smoothing=0.05,
    source=Tree((0.35, 0.55, 0.75, 0.85), (0.70, 0.75, 0.70, 0.60)),
    target=Tree((0.25, 0.45, 0.70, 0.90), (0.80, 0.80, 0.70, 0.60)),
    correlation=0.05,
    correlated=12,
    protocols={TCP: 0.72, UDP: 0.15, 0: 0.08, ICMP: 0.04, 47: 0.003, 50: 0.004, 89: 0.003},
    ports={
        "WC-EM": 0.66,
        "WC-WC": 0.20,
        "WC-AR": 0.07,
        "WC-HI": 0.03,
        "EM-WC": 0.01,
        "EM-HI": 0.01,
        "EM-EM": 0.01,
        "WC-LO": 0.01,
    },
    drops=0.5,
)

FIREWALL = Seed(
    lengths=(
        (0.26, WILD, HOST),
        (0.18, HOST, WILD),
        (0.16, HOST, HOST),
        (0.10, LAN, HOST),
        (0.09, WILD, LAN),
        (0.08, LAN, WILD),
        (0.05, HOST, LAN),
        (0.03, SITE, HOST),
        (0.02, LAN, LAN),
        (0.015, SHORT, HOST),
        (0.01, WILD, SITE),
        (0.003, SITE, WILD),
        (0.002, WILD, SHORT),
    ),
    smoothing=0.04,
    source=Tree((0.20, 0.40, 0.65, 0.90), (0.80, 0.80, 0.70, 0.55)),
    target=Tree((0.15, 0.40, 0.70, 0.90), (0.85, 0.80, 0.70, 0.55)),
    correlation=0.15,
    correlated=16,
    protocols={TCP: 0.58, UDP: 0.24, 0: 0.10, ICMP: 0.06, 47: 0.01, 50: 0.01},
    ports={
        "WC-EM": 0.40,
        "WC-WC": 0.14,
        "WC-AR": 0.10,
        "HI-EM": 0.13,
        "EM-WC": 0.05,
        "EM-HI": 0.05,
        "HI-HI": 0.03,
        "HI-AR": 0.03,
        "EM-EM": 0.03,
        "WC-HI": 0.02,
        "WC-LO": 0.01,
        "AR-EM": 0.01,
    },
    drops=0.5,
)

IPC = Seed(
    lengths=(
        (0.22, HOST, HOST),
        (0.16, LAN, HOST),
        (0.14, LAN, LAN),
        (0.10, HOST, LAN),
        (0.08, SITE, HOST),
        (0.07, WILD, HOST),
        (0.07, SITE, LAN),
        (0.05, HOST, SITE),
        (0.04, LAN, SITE),
        (0.03, HOST, WILD),
        (0.015, SITE, SITE),
        (0.01, WILD, LAN),
        (0.008, LAN, WILD),
        (0.005, SHORT, LAN),
        (0.002, SITE, WILD),
    ),
    smoothing=0.08,
    source=Tree((0.30, 0.50, 0.70, 0.85), (0.75, 0.75, 0.70, 0.60)),
    target=Tree((0.30, 0.50, 0.70, 0.85), (0.75, 0.75, 0.70, 0.60)),
    correlation=0.25,
    correlated=16,
    protocols={TCP: 0.50, UDP: 0.30, 0: 0.12, ICMP: 0.06, 47: 0.01, 50: 0.01},
    ports={
        "WC-EM": 0.32,
        "WC-WC": 0.26,
        "EM-WC": 0.10,
        "EM-EM": 0.08,
        "WC-AR": 0.06,
        "AR-WC": 0.03,
        "HI-EM": 0.05,
        "EM-HI": 0.04,
        "WC-HI": 0.03,
        "HI-HI": 0.01,
        "WC-LO": 0.01,
        "AR-AR": 0.01,
    },
    drops=0.5,
)

#: Exact ports, the well-known ones most often; further ones are drawn of all.
PORTS = (80, 443, 22, 25, 53, 21, 23, 110, 123, 139, 143, 161, 445, 514, 993, 1433, 1521, 3306)
KNOWN_PORTS = 0.7
#: Arbitrary ranges; further ones are drawn.
RANGES = ((6000, 6063), (137, 139), (20, 21), (33434, 33524), (5060, 5061), (67, 68), (135, 139))
KNOWN_RANGES = 0.7
