"""The bars: what has to hold, as ratios within one run or as limits, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.results import EMPTY_HOOK, EVEN, LEGACY, NFT, OURS, WORST, Results, What

SMALL, FEW, MIDDLE, LARGE, HUGE = 10, 100, 10_000, 100_000, 1_000_000
CLASSBENCH = ("acl", "firewall", "ipc")
CHAINS = ("kube", "firewalld")
#: What "flat" is taken to mean where no number was set.
FLAT = 0.80
FAMILIES = ("hosts", *CLASSBENCH, *CHAINS)
CALLED = ("hosts", "acl")


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar and what was measured for it, None if it was not.

    `at_least` or else at most; `unit` is written behind the numbers.
    """

    what: str
    bound: float
    unit: str
    measured: float | None
    at_least: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def bars(results: Results) -> list[Bar]:
    """Give all bars in the order of the issue that set them."""
    return [
        *_flatness(results),
        *_against_peers(results),
        *_test_runs(results),
        *_times(results),
        *_memory(results),
        *_million(results),
        *_calls(results),
    ]


def _flatness(results: Results) -> Iterator[Bar]:
    for family in FAMILIES:
        for packets in (EVEN, WORST):
            yield Bar(
                f"{family}: throughput at 100,000 / at 10 rules, {packets} packets",
                0.90 if family == "hosts" else 0.80,
                "",
                _ratio(
                    _rate(results, family, LARGE, OURS, packets),
                    _rate(results, family, SMALL, OURS, packets),
                ),
                at_least=True,
            )


def _against_peers(results: Results) -> Iterator[Bar]:
    smallest = min(results.sizes(What.THROUGHPUT, "hosts"), default=1)
    yield Bar(
        "hosts: throughput at 1 rule / an empty hook",
        0.95,
        "",
        _ratio(
            _rate(results, "hosts", 1, OURS, EVEN),
            _rate(results, "hosts", smallest, EMPTY_HOOK, EVEN),
        ),
        at_least=True,
    )
    yield Bar(
        "hosts: throughput at 10,000 rules / iptables-legacy, match at the last",
        40,
        "×",
        _ratio(
            _rate(results, "hosts", MIDDLE, OURS, WORST),
            _rate(results, "hosts", MIDDLE, LEGACY, WORST),
        ),
        at_least=True,
    )


def _test_runs(results: Results) -> Iterator[Bar]:
    for family, bound in (("hosts", 150), *((name, 300) for name in CLASSBENCH)):
        yield Bar(
            f"{family}: test run at 100,000 rules, a packet",
            bound,
            "ns",
            results.median(What.TEST_RUN, family, LARGE, OURS, EVEN),
        )


def _times(results: Results) -> Iterator[Bar]:
    for family, bound in (("hosts", 1.0), *((name, 2.5) for name in CLASSBENCH)):
        yield Bar(
            f"{family}: apply 100,000 rules",
            bound,
            "s",
            results.median(What.LOAD, family, LARGE, OURS),
        )
    yield Bar(
        "hosts: apply 100,000 rules / iptables-nft-restore",
        0.4,
        "×",
        _ratio(
            results.median(What.LOAD, "hosts", LARGE, OURS),
            results.median(What.LOAD, "hosts", LARGE, NFT),
        ),
    )
    for family in FAMILIES:
        yield Bar(
            f"{family}: apply 10,000 rules",
            0.25,
            "s",
            results.median(What.LOAD, family, MIDDLE, OURS),
        )
    for family in FAMILIES:
        yield Bar(
            f"{family}: change one rule of 100,000",
            0.15,
            "s",
            results.median(What.CHANGE, family, LARGE, OURS),
        )


def _memory(results: Results) -> Iterator[Bar]:
    for family in FAMILIES:
        maps = results.median(What.MAPS, family, LARGE, OURS)
        peak = results.median(What.PEAK, family, LARGE, OURS)
        yield Bar(f"{family}: kernel maps of 100,000 rules", 60, "MB", _megabytes(maps))
        yield Bar(f"{family}: peak of the command, 100,000 rules", 500, "MB", _megabytes(peak))


def _million(results: Results) -> Iterator[Bar]:
    for packets in (EVEN, WORST):
        yield Bar(
            f"hosts: throughput at 1,000,000 / at 10 rules, {packets} packets",
            FLAT,
            "",
            _ratio(
                _rate(results, "hosts", HUGE, OURS, packets),
                _rate(results, "hosts", SMALL, OURS, packets),
            ),
            at_least=True,
        )


def _calls(results: Results) -> Iterator[Bar]:
    for what, size, bound in (
        (What.APPEND, FEW, 80),
        (What.APPEND, MIDDLE, 150),
        (What.RULES, MIDDLE, 250),
        (What.LISTING, MIDDLE, 250),
    ):
        for family in CALLED:
            taken = results.median(what, family, size, OURS)
            command = what.replace("iptables", "iptables-bpf")
            yield Bar(f"{family}: {command}, {size:,} rules", bound, "ms", _milliseconds(taken))


def _rate(results: Results, family: str, size: int, peer: str, packets: str) -> float | None:
    return results.median(What.THROUGHPUT, family, size, peer, packets)


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else value * 1e3


def _megabytes(value: float | None) -> float | None:
    return None if value is None else value / 1e6
