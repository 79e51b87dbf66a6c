"""Compare engines over random cases until stopped; each difference found is shrunk and kept.

python -m tests.harness.fuzz [--large | --edited] [--seed N] [--cases N] [--packets N]
                             [--found DIRECTORY]
python -m tests.harness.fuzz --replay CASE.json …
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from tests.harness.duel import Case, Duel, random_case
from tests.harness.engines import (
    BpfEngine,
    EditedEngine,
    Engine,
    LargeEngine,
    LegacyEngine,
    remove_leftovers,
)
from tests.harness.large.cases import large_case
from tests.harness.rules_gen import Knobs
from tests.harness.shrink import shrink

#: Gives the case of a seed, with so many packets.
Draw = Callable[[int, int, Knobs], Case]

#: Cases a pair of labs is used for; then new ones, as fragments waiting in them pile up.
CASES_PER_LAB = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A difference: the seed that showed it, the case made small, and its differences."""

    seed: int
    case: Case
    differences: list[str]

    def __str__(self) -> str:
        return f"seed {self.seed}\n{report(self.case, self.differences)}"


@dataclass(slots=True)
class Tally:
    cases: int = 0
    packets: int = 0
    rules: int = 0
    rules_hit: int = 0
    seconds: float = 0.0
    #: Differences that did not come back when the case was run again.
    unrepeated: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name in fields(self):
            setattr(self, name.name, getattr(self, name.name) + getattr(other, name.name))

    def __str__(self) -> str:
        return (
            f"{self.cases} rulesets, {self.packets} packets, {self.rules_hit} of {self.rules} "
            f"rules hit, {len(self.found)} differences, {len(self.unrepeated)} unrepeated, "
            f"{self.seconds:.0f} s"
        )


def report(case: Case, differences: list[str]) -> str:
    """Show a case and how the engines differ over it, for a person."""
    lines = ["Differences:", *(f"  {line}" for line in differences[:20])]
    lines += [f"Rules (IPv{case.version}):", case.text, "Other tables:", case.surroundings]
    lines += [f"Packet {p.via.value}/{p.sender}: {p.data.hex()}" for p in case.packets[:20]]
    return "\n".join(lines)


def compare(
    engines: tuple[Engine, Engine],
    seeds: Iterable[int],
    packets: int,
    knobs: Knobs | None = None,
    cpu: int | None = None,
    most_found: int = 3,
    shrink_seconds: float = 60,
    draw: Draw = random_case,
) -> Tally:
    """Run a case for each seed; stop early when enough differences are found.

    What the whole machine shares (the ICMP sockets' send buffers, for one) can make a
    packet of the stack's own go missing; a difference counts if it comes again.
    """
    tally = Tally()
    knobs = knobs or Knobs()
    knobs = replace(knobs, without=knobs.without | engines[1].refuses)
    started = time.monotonic()
    for batch in batches(seeds, CASES_PER_LAB):
        duel = Duel(*engines, cpu=cpu)
        try:
            for seed in batch:
                case = draw(seed, packets, knobs)
                differences = duel.run(case)
                tally.cases += 1
                tally.packets += packets
                tally.rules += duel.rules
                tally.rules_hit += duel.rules_hit
                if differences and not (duel.run(case) or duel.run(case)):
                    tally.unrepeated.append(f"seed {seed}: {differences[0]}")
                elif differences:
                    small = shrink(duel, case, shrink_seconds)
                    again = duel.run(small) or differences
                    tally.found.append(Found(seed, small, again))
                tally.seconds = time.monotonic() - started
                if len(tally.found) >= most_found:
                    return tally
        finally:
            duel.close()
    return tally


def compare_everywhere(
    engines: tuple[Engine, Engine], seeds: range, packets: int, draw: Draw = random_case
) -> Tally:
    """Share the seeds out over all processors, a process on each."""
    cpus = sorted(os.sched_getaffinity(0))
    total = Tally()
    started = time.monotonic()
    with ProcessPoolExecutor(len(cpus), multiprocessing.get_context("spawn")) as pool:
        shares = [seeds[start :: len(cpus)] for start in range(len(cpus))]
        jobs = [
            pool.submit(compare, engines, share, packets, cpu=cpu, draw=draw)
            for share, cpu in zip(shares, cpus, strict=True)
        ]
        for job in jobs:
            total.add(job.result())
    total.seconds = time.monotonic() - started
    return total


def batches(seeds: Iterable[int], size: int) -> Iterable[list[int]]:
    drawn = iter(seeds)
    while batch := list(itertools.islice(drawn, size)):
        yield batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=None, help="first seed; random if not given")
    parser.add_argument("--cases", type=int, default=0, help="how many; 0: until stopped")
    parser.add_argument("--packets", type=int, default=400, help="packets of each case")
    parser.add_argument("--found", type=Path, default=Path("fuzz-findings"), help="where cases go")
    parser.add_argument("--without", default="", help="matches left out, by commas")
    parser.add_argument("--only", default="", help="matches drawn alone, by commas")
    parser.add_argument("--large", action="store_true", help="rulesets that need an index")
    parser.add_argument("--edited", action="store_true", help="large ones, by changes to others")
    parser.add_argument("--legacy", action="store_true", help="iptables-legacy against itself")
    parser.add_argument("--replay", type=Path, nargs="*", help="run these cases and no others")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no namespaces behind
    remove_leftovers()
    large = args.large or args.edited
    ours = EditedEngine() if args.edited else LargeEngine() if large else BpfEngine()
    engines: tuple[Engine, Engine] = (
        LegacyEngine(),
        LegacyEngine("itself") if args.legacy else ours,
    )
    if args.replay:
        return replay(engines, args.replay)
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    seeds = range(seed, seed + args.cases) if args.cases else itertools.count(seed)
    knobs = Knobs(without=words(args.without), only=words(args.only))
    total = Tally()
    cpu = min(os.sched_getaffinity(0))
    for batch in batches(seeds, CASES_PER_LAB):
        tally = compare(
            engines,
            batch,
            args.packets,
            knobs,
            cpu,
            most_found=1000,
            draw=large_case if large else random_case,
        )
        for number, found in enumerate(tally.found):
            args.found.mkdir(parents=True, exist_ok=True)
            path = args.found / f"{batch[0]}-{number}.json"
            path.write_text(found.case.to_json())
            print(f"kept {path}:\n{found}")  # noqa: T201
        total.add(tally)
        print(f"seeds {seed}..{batch[-1]}: {total}", flush=True)  # noqa: T201
    return 1 if total.found else 0


def words(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def replay(engines: tuple[Engine, Engine], paths: Iterable[Path]) -> int:
    duel = Duel(*engines)
    failed = 0
    try:
        for path in paths:
            case = Case.from_json(path.read_text())
            differences = duel.run(case)
            failed += bool(differences)
            print(path, report(case, differences) if differences else "agree")  # noqa: T201
    finally:
        duel.close()
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
