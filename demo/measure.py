"""A ruleset, an engine, a lab, an afternoon: what came of it, and what was counted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bpfilter import Family, Firewall, Ruleset, Table, format_saved, parse_saved
from demo.scenario import populate, steps
from demo.traffic import Traffic, steady
from tests.harness.netns import Lab, Namespace

VERSIONS = {Family.IPV4: 4, Family.IPV6: 6}
#: What has been sent arrives before the counters are read.
SETTLE_S = 0.2
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Measurement:
    """`outcomes`: hook, what, outcome; `tables` hold the counters."""

    outcomes: dict[Family, list[tuple[str, str, str]]]
    tables: dict[Family, Table]
    notes: tuple[str, ...]


Engine = Callable[[Namespace, Sequence[Ruleset]], contextlib.AbstractContextManager["Reader"]]


@dataclass(frozen=True, slots=True)
class Reader:
    """A ruleset in force: how to read its counters, and what there is to say of it."""

    table: Callable[[Family], Table]
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def ebpf(namespace: Namespace, rulesets: Sequence[Ruleset]) -> Iterator[Reader]:
    """Enforce by this project's API."""
    firewall = Firewall(namespace.path)
    notes = []
    try:
        for ruleset in rulesets:
            started = time.monotonic()
            applied = firewall.apply(ruleset)
            took = time.monotonic() - started
            sizes = ", ".join(f"{p.hook} {p.jited_bytes} bytes" for p in applied.programs)
            notes.append(
                f"{ruleset.family.command}: {applied.rules} rules in force "
                f"after {took * 1000:.0f} ms (machine code: {sizes})"
            )

        def table(family: Family) -> Table:
            found = firewall.table(family)
            assert found is not None
            return found

        yield Reader(table, tuple(notes))
    finally:
        for family in Family:
            firewall.clear(family)


@contextlib.contextmanager
def iptables(namespace: Namespace, rulesets: Sequence[Ruleset]) -> Iterator[Reader]:
    """Enforce by the kernel's own tables; they go away with the namespace."""
    for ruleset in rulesets:
        text = format_saved(ruleset, counters=False)
        namespace.run(f"{ruleset.family.command}-legacy-restore", "-w", "20", stdin=text)

    def table(family: Family) -> Table:
        saved = namespace.run(f"{family.command}-legacy-save", "-c", "-t", "filter")
        found = parse_saved(saved, f"{family.command}-legacy-save", family).table("filter")
        assert found is not None
        return found

    yield Reader(table)


def measure(
    engine: Engine, rulesets: Sequence[Ruleset], say: Callable[[str], None]
) -> Measurement:
    """Run the afternoon under one engine, in a new lab.

    A run that the machine disturbed (`Traffic.disturbed`) is thrown away whole, before its
    counters are looked at, and done again.
    """
    for attempt in range(ATTEMPTS):
        measured, disturbance = _attempt(engine, rulesets)
        if not disturbance:
            break
        say(f"the machine was too busy ({disturbance}); attempt {attempt + 2}")
    return measured


def _attempt(engine: Engine, rulesets: Sequence[Ruleset]) -> tuple[Measurement, str]:
    with Lab() as lab, engine(lab.firewall, rulesets) as reader:
        hosts = populate(lab)
        namespaces = (lab.client, lab.firewall, lab.server)
        for namespace in namespaces:
            steady(namespace)
        outcomes = {}
        disturbance = ""
        for ruleset in rulesets:
            with Traffic(VERSIONS[ruleset.family], namespaces) as traffic:
                outcomes[ruleset.family] = [
                    (step.hook, step.what, step.run()) for step in steps(hosts, traffic)
                ]
                time.sleep(SETTLE_S)
                disturbance = disturbance or traffic.disturbed()
        tables = {ruleset.family: reader.table(ruleset.family) for ruleset in rulesets}
        return Measurement(outcomes, tables, reader.notes), disturbance
