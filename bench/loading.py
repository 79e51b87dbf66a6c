"""Load times, again and again into a new lab: text to rules in force, the whole process."""

from __future__ import annotations

from bench import families
from bench.commands import CommandFailed
from bench.families import Family
from bench.lab import Lab
from bench.peers import NotMeasured, Peer
from bench.plan import Bench
from bench.results import What


def measure(bench: Bench, name: str) -> None:
    """Load one family at each size, peers in turn."""
    for size in bench.plan.sizes[name]:
        if size < bench.plan.timed_from or not bench.plan.loads:
            continue
        family = families.make(name, size, bench.plan.seed)
        bench.say(f"{name}, {family.rules:,} rules: load times")
        peers = bench.peers_for(name)
        for _ in range(bench.plan.loads):
            # Who is left out is not tried again.
            peers = [peer for peer in peers if _load(bench, size, family, peer)]


def _load(bench: Bench, size: int, family: Family, peer: Peer) -> bool:
    try:
        peer.takes(family)
        with Lab() as lab, peer.loaded(lab, family, bench.files, bench.plan.limit_s) as taken:
            if taken:
                bench.note_load(family.name, size, peer.name, taken)
    except (NotMeasured, CommandFailed) as error:
        bench.skip(What.LOAD, family.name, size, peer.name, str(error))
        return False
    return taken is not None
