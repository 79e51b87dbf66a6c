"""A peer with a family's rules in force in a lab, and streams of packets into it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.commands import Taken
from bench.families import Family
from bench.lab import Lab
from bench.peers import Peer
from bench.results import EVEN, WORST
from bench.traffic import Burst, Generator, Stream


class Mismatch(Exception):
    """What was counted is not what was sent: the measurement is worth nothing."""


@dataclass(slots=True)
class Traffic:
    """The generators of a family's packets, for all rigs of that family."""

    even: Generator
    worst: Generator


@dataclass(slots=True)
class _Sent:
    # What a rule is to have counted if nothing was lost.
    rules: NDArray[np.int64]
    packets: int = 0
    lost: bool = False


class Rig:
    """A lab of its own for one peer and family; `load` is what loading the rules took."""

    def __init__(
        self, peer: Peer, family: Family, traffic: Traffic, files: Path, limit_s: float
    ) -> None:
        self.peer = peer
        self.family = family
        self._files = files
        self._limit_s = limit_s
        self._sent = _Sent(np.zeros(family.rules, np.int64))
        with contextlib.ExitStack() as stack:
            self.lab = stack.enter_context(Lab())
            self.load: Taken | None = stack.enter_context(
                peer.loaded(self.lab, family, files, limit_s)
            )
            self._start = self.lab.seen()
            self._streams = {
                EVEN: Stream(traffic.even, self.lab, self._note),
                WORST: Stream(traffic.worst, self.lab, self._note),
            }
            self._stack = stack.pop_all()

    def burst(self, packets: str, seconds: float) -> Burst:
        """Send packets, EVEN or WORST, for about so long."""
        return self._streams[packets].burst(seconds)

    def change(self) -> Taken | None:
        """Change a rule and undo it; what was counted before may be gone then."""
        return self.peer.change(self.lab, self.family, self._files, self._limit_s)

    def _note(self, generator: Generator, first: int, burst: Burst) -> None:
        self._sent.packets += burst.settled.received
        self._sent.lost |= burst.settled.received != burst.sent
        self._sent.rules += generator.drawn_from(first, burst.sent, self.family.rules)

    def verify(self) -> None:
        """Compare what the rules counted with what was sent. Raises: Mismatch."""
        seen = self.lab.seen() - self._start
        where = f"{self.peer.name}, {self.family.name}, {self.family.rules} rules"
        if seen.received != self._sent.packets:
            raise Mismatch(f"{where}: {seen.received} packets of {self._sent.packets}")
        if seen.passed:
            raise Mismatch(f"{where}: {seen.passed} packets came through")
        counts = self.peer.counts(self.lab)
        if counts is None:
            return
        dropped = sum(packets for packets, target in counts if target == "DROP")
        if dropped != seen.received:
            raise Mismatch(f"{where}: {dropped} dropped of {seen.received}")
        if self.family.exact and not self._sent.lost:
            wrong = np.flatnonzero(self._sent.rules != [packets for packets, _ in counts])
            if len(wrong):
                raise Mismatch(f"{where}: rule {wrong[0]} counted {counts[wrong[0]][0]}")

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()
