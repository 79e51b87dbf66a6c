"""One case under two engines: the same rules and packets in twin labs, and every difference."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
from dataclasses import dataclass, replace

from tests.harness.engines import Counts, Engine, Refused, legacy_restore
from tests.harness.netns import Lab, Namespace
from tests.harness.packets import Packet, Theme, Via, random_packets
from tests.harness.rules_gen import Knobs, random_ruleset, random_surroundings
from tests.harness.traffic import Seen, Traffic

NETLINK_NETFILTER = 12
CT_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
NLM_F_REQUEST_ACK = 5


@dataclass(frozen=True, slots=True)
class Case:
    """Rules for table filter, what the kernel's other tables hold, and packets."""

    version: int
    text: str
    surroundings: str
    packets: tuple[Packet, ...]
    bridged: bool = False

    def to_json(self) -> str:
        packets = [[p.via.value, p.sender, p.data.hex()] for p in self.packets]
        return json.dumps(
            {
                "version": self.version,
                "bridged": self.bridged,
                "filter": self.text.splitlines(),
                "surroundings": self.surroundings.splitlines(),
                "packets": packets,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Case:
        read = json.loads(text)
        return cls(
            read["version"],
            "\n".join([*read["filter"], ""]),
            "\n".join([*read["surroundings"], ""]),
            tuple(
                Packet(Via(via), bytes.fromhex(data), sender)
                for via, sender, data in read["packets"]
            ),
            read.get("bridged", False),
        )


def random_case(seed: int, packets: int = 400, knobs: Knobs | None = None) -> Case:
    """Draw a case; the same seed and numbers give the same one."""
    rng = random.Random(seed)
    version = 4 if seed % 2 == 0 else 6
    knobs = (knobs or Knobs()).themed(rng, version)
    bridged = rng.random() < 0.12
    if bridged:
        knobs = replace(knobs, often=knobs.often | {"physdev"})
    theme = Theme(knobs.protocol, rng.choice((0.02, 0.1, 0.8)), bridged)
    return Case(
        version,
        random_ruleset(rng, version, knobs),
        random_surroundings(rng, version, knobs),
        # Numbers, and with them IP identifications, differ from case to case.
        random_packets(rng, version, packets, seed * packets & 0x3FFF_FFFF, theme),
        bridged,
    )


class Duel:
    """Two engines, each with a lab of its own; `run` says how they differ over a case.

    The first is the judge: what it does not take is no case (CalledProcessError), while
    what only the second does not take is a difference.

    The calling process is kept on one processor, so that `-m cpu` and the order
    of packets are the same on both sides.
    """

    def __init__(self, first: Engine, second: Engine, cpu: int | None = None) -> None:
        self.engines = (first, second)
        self.rules = self.rules_hit = 0  # of the last case: how much it says
        self._stack = contextlib.ExitStack()
        self._affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self._affinity) if cpu is None else cpu})
        self._stack.callback(os.sched_setaffinity, 0, self._affinity)
        self._twins: dict[bool, tuple[Traffic, Traffic]] = {}

    def twins(self, bridged: bool) -> tuple[Traffic, Traffic]:
        """Give a lab for each engine, made when first asked for."""
        if bridged not in self._twins:
            first, second = (self._open(engine, bridged) for engine in self.engines)
            self._twins[bridged] = first, second
        return self._twins[bridged]

    def _open(self, engine: Engine, bridged: bool) -> Traffic:
        lab = self._stack.enter_context(Lab(wires=True, bridged=bridged))
        self._stack.callback(engine.clear, lab.firewall)
        return self._stack.enter_context(contextlib.closing(Traffic(lab)))

    def run(self, case: Case) -> list[str]:
        """Send the case's packets through both firewalls; give a line for each difference."""
        twins = self.twins(case.bridged)
        # Both or none get the packets: fragments that wait in one lab would tell later.
        for engine, traffic in zip(self.engines, twins, strict=True):
            try:
                self._apply(engine, traffic.lab.firewall, case)
            except Refused as error:
                return [f"{engine.name} refuses: {error}"]
        seen, other_seen = (traffic.exchange(case.packets) for traffic in twins)
        counts, other_counts = (
            engine.counts(traffic.lab.firewall, case.version)
            for engine, traffic in zip(self.engines, twins, strict=True)
        )
        self.rules = sum(map(len, counts.rules.values()))
        self.rules_hit = sum(hits > 0 for rules in counts.rules.values() for hits, _ in rules)
        names = (self.engines[0].name, self.engines[1].name)
        return [
            *count_differences(case.text, counts, other_counts, names),
            *seen_differences(seen, other_seen, names),
        ]

    def _apply(self, engine: Engine, firewall: Namespace, case: Case) -> None:
        legacy_restore(firewall, case.version, case.surroundings)
        engine.apply(firewall, case.version, case.text)
        flush_conntrack(firewall)

    def close(self) -> None:
        self._stack.close()


def flush_conntrack(namespace: Namespace) -> None:
    """Forget all connections of a namespace (nfnetlink, struct nfgenmsg of zeros)."""
    with namespace.entered():
        talk = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with talk:
        talk.send(struct.pack("=IHHIIBBH", 20, CT_DELETE, NLM_F_REQUEST_ACK, 1, 0, 0, 0, 0))
        error = struct.unpack_from("=i", talk.recv(4096), 16)[0]
    if error:
        raise OSError(-error, os.strerror(-error))


def count_differences(
    text: str, counts: Counts, others: Counts, names: tuple[str, str]
) -> list[str]:
    lines = rule_lines(text)
    found = []
    for chain, policy in counts.policies.items():
        if policy != others.policies.get(chain):
            found.append(f"{chain} policy: {both(names, policy, others.policies.get(chain))}")
    if counts.rules.keys() != others.rules.keys():
        found.append(f"chains: {both(names, [*counts.rules], [*others.rules])}")
    for chain, rules in counts.rules.items():
        other_rules = others.rules.get(chain, [])
        if len(rules) != len(other_rules):
            found.append(f"{chain}: {both(names, len(rules), len(other_rules))} rules")
        for number, (mine, theirs) in enumerate(zip(rules, other_rules, strict=False), 1):
            if mine != theirs:
                rule = lines[chain][number - 1]
                found.append(f"{chain} rule {number}: {both(names, mine, theirs)}: {rule}")
    return found


def rule_lines(text: str) -> dict[str, list[str]]:
    """Group the `-A` lines of save text by chain."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("-A "):
            found.setdefault(line.split()[1], []).append(line)
    return found


def both(names: tuple[str, str], one: object, other: object) -> str:
    return f"{names[0]} {one}, {names[1]} {other}"


def seen_differences(seen: Seen, other: Seen, names: tuple[str, str]) -> list[str]:
    found = []
    for name, mine, theirs in zip(names, (seen, other), (other, seen), strict=True):
        for (end, frame), count in (mine.frames - theirs.frames).items():
            found.append(f"only with {name}, at {end}, {count} x {frame.hex()}")
        for number, error in mine.errors - theirs.errors:
            found.append(f"only with {name}, packet {number} sent locally: {os.strerror(error)}")
    for key in sorted(seen.stack.keys() | other.stack.keys()):
        mine_moved, theirs_moved = seen.stack.get(key, 0), other.stack.get(key, 0)
        if mine_moved != theirs_moved:
            found.append(f"stack {key}: {both(names, mine_moved, theirs_moved)}")
    return found
