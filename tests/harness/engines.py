"""The two firewalls under comparison, behind one small interface.

`LegacyEngine` is the judge: the kernel's x_tables, through iptables-legacy.
"""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol
from unittest import mock

from bpfilter import Counters, Error, Family, Firewall, parse_saved
from bpfilter.compiler import straight
from bpfilter.firewall import given
from tests.harness.netns import Namespace, leftovers, run

Pair = tuple[int, int]

#: With so many rules, some chain is searched by an index.
LARGE = 500


@dataclass(slots=True)
class Counts:
    """Packets and bytes of each chain's rules in order, and of the base chains' policies."""

    policies: dict[str, Pair] = field(default_factory=dict)
    rules: dict[str, list[Pair]] = field(default_factory=dict)


class Refused(Exception):
    """The engine will not enforce this ruleset; says why."""


class Engine(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def refuses(self) -> frozenset[str]:
        """Features (match_kinds.py) this engine says no to, rather than enforce them wrong."""

    def apply(self, namespace: Namespace, version: int, text: str) -> None:
        """Put save text in force, counters at zero; Refused if it cannot be."""

    def counts(self, namespace: Namespace, version: int) -> Counts:
        """Read the counters of table filter."""

    def clear(self, namespace: Namespace) -> None:
        """Take everything of this engine out of the namespace."""


def legacy_command(version: int, suffix: str) -> str:
    return f"ip{'6' if version == 6 else ''}tables-legacy{suffix}"


COUNTED = re.compile(r"^\[(\d+):(\d+)\] -A (\S+)")
DECLARED = re.compile(r"^:(\S+) (\S+) \[(\d+):(\d+)\]")


def parse_counts(saved: str) -> Counts:
    """Read what iptables-save -c prints for table filter."""
    counts = Counts()
    for line in saved.splitlines():
        if declared := DECLARED.match(line):
            chain, policy, packets, size = declared.groups()
            counts.rules[chain] = []
            if policy != "-":
                counts.policies[chain] = int(packets), int(size)
        elif counted := COUNTED.match(line):
            packets, size, chain = counted.groups()
            counts.rules[chain].append((int(packets), int(size)))
    return counts


EMPTY = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


class LegacyEngine:
    refuses = frozenset[str]()

    def __init__(self, name: str = "iptables-legacy") -> None:
        self.name = name

    def apply(self, namespace: Namespace, version: int, text: str) -> None:
        legacy_restore(namespace, version, text)

    def counts(self, namespace: Namespace, version: int) -> Counts:
        return parse_counts(namespace.run(legacy_command(version, "-save"), "-c", "-t", "filter"))

    def clear(self, namespace: Namespace) -> None:
        for version in (4, 6):
            legacy_restore(namespace, version, EMPTY)


def legacy_restore(namespace: Namespace, version: int, text: str) -> None:
    """Load save text into the kernel's own tables."""
    namespace.run(legacy_command(version, "-restore"), "-w", "20", stdin=text)


class BpfEngine:
    """This project, through its Python API (the commands are thin layers over it)."""

    name = "bpfilter"
    refuses = frozenset(("rt-0-not-strict", "addrtype-route"))

    def apply(self, namespace: Namespace, version: int, text: str) -> None:
        family = FAMILIES[version]
        firewall = Firewall(namespace.path)
        # Both structures have their turns; the policy stays as it is when a case is shrunk.
        most = 0 if ":INPUT DROP" in text else straight.MOST_CELLS
        try:
            with mock.patch.object(straight, "MOST_CELLS", most):
                self._enforce(firewall, text, family)
        except Error as error:
            raise Refused("\n".join([str(error), *getattr(error, "__notes__", ())])) from error
        except Exception as error:  # a bug is a finding as well, with its rules and seed
            raise Refused("".join(traceback.format_exception(error)[-2:])) from error
        firewall.zero(family)  # rules that were in force before have kept their counters

    def _enforce(self, firewall: Firewall, text: str, family: Family) -> None:
        firewall.apply(parse_saved(text, "random", family))

    def counts(self, namespace: Namespace, version: int) -> Counts:
        table = Firewall(namespace.path).table(FAMILIES[version])
        counts = Counts()
        for chain in table.chains if table else ():
            if chain.policy is not None:
                counts.policies[chain.name] = pair(chain.counters)
            counts.rules[chain.name] = [pair(rule.counters) for rule in chain.rules]
        return counts

    def clear(self, namespace: Namespace) -> None:
        for family in Family:
            Firewall(namespace.path).clear(family)


class LargeEngine(BpfEngine):
    """This project with rulesets of any size taken for large ones: read as columns, indexed."""

    def _enforce(self, firewall: Firewall, text: str, family: Family) -> None:
        with mock.patch.object(given, "LARGE", 1):
            generation = firewall.apply_text(text, family, source="large")
        assert generation.searched or text.count("\n-A ") < LARGE, "no chain is searched"


class EditedEngine(LargeEngine):
    """As LargeEngine, by a few changes to rules that are in force already."""

    name = "bpfilter edited"

    def __init__(self) -> None:
        self.changes = self.in_place = 0

    def _enforce(self, firewall: Firewall, text: str, family: Family) -> None:
        lineage = ""
        for each in _on_the_way_to(text, random.Random(text)):
            super()._enforce(firewall, each, family)
            generation = firewall.generation(family)
            assert generation is not None
            self.changes += lineage != ""
            self.in_place += lineage == generation.lineage
            lineage = generation.lineage


def _on_the_way_to(text: str, rng: random.Random) -> Iterator[str]:
    """Give a text in which some lines are missing, and some are there once more; then, one
    after the other, what is right."""
    lines = text.splitlines(keepends=True)
    rules = [number for number, line in enumerate(lines) if line.startswith("-A ")]
    changed = rng.sample(rules, min(6, len(rules)))
    missing, twice = set(changed[::2]), dict.fromkeys(changed[1::2], "")
    for number in twice:
        twice[number] = rng.choice((lines[number], lines[rng.choice(rules)]))
    for number in (*changed, -1):
        yield "".join(
            twice.get(at, "") + (line if at not in missing else "")
            for at, line in enumerate(lines)
        )
        missing.discard(number)
        twice.pop(number, None)


def remove_leftovers(done: int | None = None) -> None:
    """Delete the namespaces that runs now dead have left, and what is in force in them."""
    for name in leftovers(done):
        BpfEngine().clear(Namespace.existing(name))
        run("ip", "netns", "del", name)


FAMILIES = {4: Family.IPV4, 6: Family.IPV6}


def pair(counters: Counters) -> Pair:
    return counters.packets, counters.bytes
