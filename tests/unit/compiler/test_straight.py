"""Straight-line code does what the loop does, and is left to tables that are small."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import pytest

from bpfilter import Family, parse_saved
from bpfilter.abi import insn as abi
from bpfilter.asm.check import check
from bpfilter.compiler import straight
from bpfilter.errors import RefusedError, RuleError
from bpfilter.rules.model import Hook, Ruleset
from bpfilter.simulate.packet import Connection, Packet, State, Surroundings
from bpfilter.simulate.run import Simulator
from tests.harness import wire
from tests.harness.engines import BpfEngine
from tests.harness.packets import Theme, Via, random_packet
from tests.harness.rules_gen import Knobs, random_ruleset

AROUND = Surroundings("eth0", "eth1", Connection(State.NEW), mark=0, cpu=0)
HOOKS = (Hook.INPUT, Hook.FORWARD, Hook.OUTPUT)


def ruleset(*lines: str) -> Ruleset:
    text = "\n".join(("*filter", ":INPUT DROP", ":FORWARD ACCEPT", ":OUTPUT ACCEPT", *lines))
    return parse_saved(f"{text}\nCOMMIT\n", "rules", Family.IPV4)


def both(rules: Ruleset) -> tuple[Simulator, Simulator]:
    """Give simulators of straight-line code and of the loop; the code must be sound."""
    made = tuple(Simulator(rules, local=(), straight=choice) for choice in (True, False))
    for program in made[0].compiled.programs.values():
        assert check(program.insns) == []
    return made[0], made[1]


def loops(simulator: Simulator, hook: Hook = Hook.INPUT) -> bool:
    insns = simulator.compiled.programs[hook].insns
    return any(insn.opcode == abi.MAY_GOTO for insn in insns)


def drawn(rng: random.Random, version: int) -> Iterator[tuple[str, Ruleset]]:
    while True:
        knobs = Knobs(without=BpfEngine.refuses).themed(rng, version)
        text = random_ruleset(rng, version, knobs)
        family = Family.IPV4 if version == 4 else Family.IPV6
        try:
            rules = parse_saved(text, "drawn", family)
            Simulator(rules, local=())
        except (RefusedError, RuleError):  # some rules are taken by iptables only
            continue
        yield text, rules


@pytest.mark.parametrize("version", [4, 6])
def test_same_verdicts_paths_and_counters(version: int) -> None:
    rng = random.Random(version)
    rulesets = drawn(rng, version)
    for number in range(12):
        text, rules = next(rulesets)
        code, loop = both(rules)
        for hook in HOOKS * 15:
            packet = random_packet(rng, version, number, Theme(None))
            data = packet.data if packet.via is Via.LOCAL else packet.data[14:]
            if data[0] >> 4 != version:
                continue
            asked = (Packet(data), hook)
            assert code.run(*asked, around=AROUND) == loop.run(*asked, around=AROUND), text
        assert code.totals()[2:] == loop.totals()[2:], text


NESTED = (
    ":a - [0:0]",
    ":b - [0:0]",
    ":c - [0:0]",
    "-A INPUT -p tcp -j a",
    "-A INPUT -p udp -g b",
    "-A INPUT -s 10.0.0.1 -j RETURN",
    "-A INPUT -j ACCEPT",
    "-A a -p tcp -m tcp --dport 1:10 -j b",
    "-A a -p tcp -m tcp --dport 5 -g c",
    "-A a -p tcp -m tcp --dport 9",
    "-A b -p tcp -m tcp --dport 4 -j RETURN",
    "-A b -p tcp -m tcp --dport 3 -j c",
    "-A b -p udp -m udp --dport 3 -j c",
    "-A b -p udp -m udp ! --dport 2:4 -j DROP",
    "-A c -p tcp -m tcp --sport 7 -j DROP",
)


def test_chains_return_to_whoever_jumped_to_them() -> None:
    code, loop = both(ruleset(*NESTED))
    assert (loops(code), code.compiled.straight) == (False, True)
    assert (loops(loop), loop.compiled.straight) == (True, False)
    for source, sport, dport in product(("10.0.0.1", "10.0.0.2"), (7, 8), range(12)):
        bodies = {wire.TCP: wire.tcp(sport, dport, 0), wire.UDP: wire.udp(sport, dport, b"")}
        for protocol, body in bodies.items():
            packet = Packet(wire.ipv4(source, "10.0.0.9", protocol, body))
            results = [sim.run(packet, Hook.INPUT, around=AROUND) for sim in (code, loop)]
            assert results[0] == results[1]
    assert code.totals()[2:] == loop.totals()[2:]


def test_large_tables_are_left_to_the_loop() -> None:
    few = [f"-A INPUT -s 10.0.0.{n} -j DROP" for n in range(100)]
    assert not loops(Simulator(ruleset(*few)))
    assert loops(Simulator(ruleset(*few * 10)))


def test_a_table_that_copies_of_chains_make_large_is_left_to_the_loop() -> None:
    chains = [f":c{n} - [0:0]" for n in range(12)]
    jumps = [f"-A c{n} -j c{n + 1}" for n in range(11) for _ in range(2)]
    assert loops(Simulator(ruleset(*chains, "-A INPUT -j c0", *jumps)))


@pytest.mark.parametrize("too_many", [False, True])
def test_many_chains_are_left_to_the_loop(too_many: bool) -> None:
    count = straight.MOST_CHAINS - 3 + too_many  # the base chains count as well
    chains = [f":c{n} - [0:0]" for n in range(count)]
    jumps = [f"-A c{n} -j c{n + 1}" for n in range(count - 1)]
    assert loops(Simulator(ruleset(*chains, "-A INPUT -j c0", *jumps))) is too_many


def test_lists_are_searched_by_the_loop() -> None:
    rule = "-A OUTPUT -m owner --gid-owner 5 --suppl-groups -j DROP"
    assert loops(Simulator(ruleset(rule)), Hook.OUTPUT)
