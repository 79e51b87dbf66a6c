"""Packets a second, all peers and sizes of a family side by side.

All rigs of a family are there at once, and every round visits each of them: what changes on
the machine meanwhile meets all alike, and ratios hold.
"""

from __future__ import annotations

import contextlib
import random

from bench import families
from bench.commands import CommandFailed
from bench.families import Family, Verdicts
from bench.lab import pinned
from bench.memory import map_bytes
from bench.peers import EmptyHookPeer, NotMeasured, OurPeer
from bench.plan import Bench
from bench.results import EVEN, WORST, What
from bench.rig import Rig, Traffic
from bench.traffic import Generator

Rigs = list[tuple[int, Rig]]


def measure(bench: Bench, name: str) -> None:
    """Measure one family at all sizes. Raises: Mismatch."""
    with contextlib.ExitStack() as stack:
        rigs: Rigs = []
        for size in bench.plan.sizes[name]:
            family = families.make(name, size, bench.plan.seed, Verdicts.DROP)
            bench.say(f"{name}, {family.rules:,} rules: loading")
            traffic = Traffic(
                stack.enter_context(Generator(bench.kernel, family.packets)),
                stack.enter_context(Generator(bench.kernel, family.worst)),
            )
            rigs += _set_up(bench, stack, size, family, traffic)
        _send(bench, name, rigs)
        for _, rig in rigs:
            rig.verify()
        for size, rig in rigs:
            if isinstance(rig.peer, OurPeer):
                used = map_bytes(bench.kernel, rig.lab.router)
                bench.note(What.MAPS, name, size, rig.peer.name, float(used))
        _change(bench, name, rigs)


def _set_up(
    bench: Bench, stack: contextlib.ExitStack, size: int, family: Family, traffic: Traffic
) -> Rigs:
    made = []
    for peer in bench.peers_for(family.name):
        if isinstance(peer, EmptyHookPeer) and size != bench.plan.sizes[family.name][0]:
            continue  # it has no rules: once is enough
        try:
            peer.takes(family)
            rig = stack.enter_context(Rig(peer, family, traffic, bench.files, bench.plan.limit_s))
        except (NotMeasured, CommandFailed) as error:
            bench.skip(What.THROUGHPUT, family.name, size, peer.name, str(error))
            continue
        made.append((size, rig))
        if rig.load:
            bench.note_load(family.name, size, peer.name, rig.load)
    return made


def _send(bench: Bench, name: str, rigs: Rigs) -> None:
    order = random.Random(bench.plan.seed)
    turns = [(size, rig, packets) for size, rig in rigs for packets in (EVEN, WORST)]
    for number in range(bench.plan.rounds):
        bench.say(f"{name}: round {number + 1} of {bench.plan.rounds}")
        order.shuffle(turns)
        with pinned():
            for size, rig, packets in turns:
                rate = rig.burst(packets, bench.plan.seconds).rate
                bench.note(What.THROUGHPUT, name, size, rig.peer.name, rate, packets)


def _change(bench: Bench, name: str, rigs: Rigs) -> None:
    timed = [(size, rig) for size, rig in rigs if size >= bench.plan.timed_from]
    for number in range(bench.plan.changes):
        bench.say(f"{name}: one rule changed, {number + 1} of {bench.plan.changes}")
        for size, rig in timed:
            try:
                taken = rig.change()
            except CommandFailed as error:
                bench.skip(What.CHANGE, name, size, rig.peer.name, str(error))
                continue
            if taken:
                bench.note(What.CHANGE, name, size, rig.peer.name, taken.seconds)
