"""What to measure, and what all measurements need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.commands import Taken
from bench.peers import Peer
from bench.results import Figure, Results, What
from bpfilter.kernel.api import Kernel

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` of packets in each of `rounds`; rules loaded `loads` times again.

    One rule is changed in as many as `changes`; loads and changes are timed again and again
    only where there are `timed_from` rules or more. A command that takes longer than
    `limit_s` is given up. `calls` is how often each command of iptables is called on `tables`,
    which are named like families, with sizes.
    """

    sizes: Mapping[str, Sequence[int]]
    rounds: int
    seconds: float
    loads: int
    changes: int
    limit_s: float
    seed: int = 1
    timed_from: int = 1000
    calls: int = 0
    tables: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """A plan, who is measured, and where the figures go."""

    kernel: Kernel
    peers: Sequence[Peer]
    plan: Plan
    results: Results
    files: Path
    say: Say

    def peers_for(self, family: str) -> list[Peer]:
        return [peer for peer in self.peers if peer.knows(family)]

    def note(
        self, what: What, family: str, size: int, peer: str, value: float, packets: str = ""
    ) -> None:
        self.results.add(Figure(what, family, size, peer, packets, [value]))

    def note_load(self, family: str, size: int, peer: str, taken: Taken) -> None:
        self.note(What.LOAD, family, size, peer, taken.seconds)
        self.note(What.PEAK, family, size, peer, float(taken.peak_bytes))

    def skip(self, what: What, family: str, size: int, peer: str, reason: str) -> None:
        """Keep, and say, why there is no figure."""
        self.results.add(Figure(what, family, size, peer, reason=reason))
        self.say(f"  {peer} left out: {reason}")
