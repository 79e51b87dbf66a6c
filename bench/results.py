"""What was measured: a flat list of figures, kept as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class What(StrEnum):
    """Kinds of figures, and their units."""

    THROUGHPUT = "throughput"  # packets a second
    TEST_RUN = "test run"  # nanoseconds a packet
    LOAD = "load"  # seconds
    CHANGE = "change of one rule"  # seconds
    PEAK = "peak memory of the command"  # bytes
    MAPS = "memory of kernel maps"  # bytes
    APPEND = "iptables -A"  # seconds, as are those below
    DELETE = "iptables -D"
    CHECK = "iptables -C"
    RULES = "iptables -S"
    LISTING = "iptables -L -n -v"
    SAVED = "iptables-save"


#: Single calls of the commands of iptables.
CALLS = (What.APPEND, What.DELETE, What.CHECK, What.RULES, What.LISTING, What.SAVED)

EVEN, WORST = "even", "worst"

#: Who is measured, in the order of tables; the last one is measured by test run alone.
PEERS = (
    *("bpfilter", "iptables-legacy", "iptables-nft", "nft set", "empty hook"),
    "empty program",
)
OURS, LEGACY, NFT, NFT_SET, EMPTY_HOOK, EMPTY_PROGRAM = PEERS


@dataclass(slots=True)
class Figure:
    """Values of one thing, one for each round; or the reason why there are none.

    `packets` is EVEN or WORST where packets are sent, else empty.
    """

    what: What
    family: str
    size: int
    peer: str
    packets: str = ""
    values: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return self.what, self.family, str(self.size), self.peer, self.packets

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None


class Results:
    """Figures by what they are of; `machine` says where and with what they were measured."""

    def __init__(self, machine: dict[str, str]) -> None:
        self.machine = machine
        self._figures: dict[tuple[str, ...], Figure] = {}

    def add(self, figure: Figure) -> Figure:
        """Add figures to those of the same thing; gives them all."""
        known = self._figures.setdefault(figure.key, figure)
        if known is not figure:
            known.values += figure.values
            known.reason = figure.reason
        return known

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def find(
        self, what: What, family: str, size: int, peer: str, packets: str = ""
    ) -> Figure | None:
        return self._figures.get((what, family, str(size), peer, packets))

    def median(
        self, what: What, family: str, size: int, peer: str, packets: str = ""
    ) -> float | None:
        """Give the middle of the rounds, None if it was not measured."""
        found = self.find(what, family, size, peer, packets)
        return found.median if found else None

    def sizes(self, what: What, family: str) -> list[int]:
        return sorted({f.size for f in self if (f.what, f.family) == (what, family)})

    def peers(self, what: What, family: str) -> list[str]:
        found = {f.peer for f in self if (f.what, f.family) == (what, family)}
        return sorted(found, key=PEERS.index)

    def families(self, what: What) -> list[str]:
        return list(dict.fromkeys(f.family for f in self if f.what == what))

    def write(self, path: Path) -> None:
        figures = [asdict(figure) for figure in self]
        path.write_text(json.dumps({"machine": self.machine, "figures": figures}, indent=1))

    @classmethod
    def read(cls, path: Path) -> Results:
        data = json.loads(path.read_text())
        made = cls(data["machine"])
        for figure in data["figures"]:
            made.add(Figure(**{**figure, "what": What(figure["what"])}))
        return made
