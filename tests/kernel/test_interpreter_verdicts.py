"""The interpreter and the kernel run the same rules on the same packets: same verdicts, same
counters, whether the rules are evaluated by the loop or are straight-line code.

The kernel's side is BPF_PROG_TEST_RUN, which gives a packet little to be known by: no
input device, the loopback device to go out by (at INPUT too, so rules do not ask for it
here), no connection, no socket, and a network namespace that is a null pointer. The
simulated world is made so here.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bpfilter.bpf.program import hook_state
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.build import compile_table
from bpfilter.compiler.counters import COUNTERS_MAP
from bpfilter.compiler.target import Target
from bpfilter.errors import RefusedError, RuleError
from bpfilter.firewall import apply, counters
from bpfilter.kernel.linux import LinuxKernel
from bpfilter.rules.model import Family, Hook
from bpfilter.rules.saved import parse_saved
from bpfilter.simulate.packet import Connection, Packet, PacketType, State, Surroundings
from bpfilter.simulate.run import Outcome, Simulator
from tests.harness import wire
from tests.harness.engines import BpfEngine
from tests.harness.packets import Packet as DrawnPacket
from tests.harness.packets import Theme, Via, random_packet
from tests.harness.rules_gen import Knobs, random_ruleset

pytestmark = pytest.mark.kernel

#: Where a run starts; set it to run again what a failing run printed.
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
RULESETS = 10
PACKETS = 150  # for each hook of each ruleset
LARGEST = 3000  # what a test run takes is a page less room for the kernel's own
HOOKS = (Hook.INPUT, Hook.FORWARD, Hook.OUTPUT)

#: Destination MACs, by what they are to a loopback device (its own is zero).
DESTINATIONS = {
    "00:00:00:00:00:00": PacketType.UNICAST,
    "01:00:5e:00:00:01": PacketType.MULTICAST,
}
AROUND = Surroundings("", "lo", Connection(State.INVALID), mark=0, cpu=0)


@pytest.fixture(autouse=True)
def _one_cpu() -> Iterator[None]:
    """Stay on CPU 0, which is the interpreter's."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    yield
    os.sched_setaffinity(0, before)


def drawn_rules(
    rng: random.Random, family: Family, knobs: Knobs, straight: bool
) -> tuple[str, Simulator]:
    """Draw rules until none is refused."""
    linear = rng.choice((None, 0, 20, 40, 60))
    while True:
        drawn = random_ruleset(rng, 4 if family is Family.IPV4 else 6, knobs)
        text = re.sub(r"(! )?-o \S+ ?", "", drawn)
        try:
            rules = parse_saved(text, "drawn", family)
            return text, Simulator(rules, local=(), linear=linear, straight=straight)
        except (RefusedError, RuleError):  # some rules are taken by iptables only
            continue


def drawn_packets(rng: random.Random, family: Family, protocol: int | None) -> Iterator[Packet]:
    version, kind = (4, wire.ETH_P_IP) if family is Family.IPV4 else (6, wire.ETH_P_IPV6)
    for number in range(PACKETS):
        drawn = random_packet(rng, version, number, Theme(protocol))
        to, packet_type = rng.choice(list(DESTINATIONS.items()))
        link = wire.ethernet(to, "02:00:00:00:01:02", kind, b"")
        yield Packet(network_layer(drawn)[:LARGEST], link, kind=packet_type)


def network_layer(drawn: DrawnPacket) -> bytes:
    if drawn.via is Via.LOCAL:
        return drawn.data
    tagged = drawn.data[12:14] == wire.ETH_P_8021Q.to_bytes(2, "big")
    return drawn.data[18 if tagged else 14 :]


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name)
@pytest.mark.parametrize("index", range(RULESETS))
def test_same_verdicts_and_counters(
    kernel: LinuxKernel, types: KernelTypes, family: Family, index: int
) -> None:
    seed = SEED + index
    rng = random.Random(f"{seed} {family}")
    version = 4 if family is Family.IPV4 else 6
    knobs = Knobs(without=BpfEngine.refuses).themed(rng, version)
    straight = rng.random() < 0.5
    text, simulator = drawn_rules(rng, family, knobs, straight)
    simulator.world.state["net"] = 0
    cpus = kernel.possible_cpus()
    target = Target(types, cpus, 250)
    compiled = compile_table(simulator.table, family, target, straight=not straight)
    packets = list(drawn_packets(rng, family, knobs.protocol))
    with ExitStack() as stack:
        loaded = apply.load(kernel, stack, compiled, target)
        for hook in HOOKS:
            program, state = loaded.programs[hook], hook_state(hook, family)
            for packet in packets:
                wired = packet.data if hook is Hook.OUTPUT else packet.link + packet.data
                accepted = program.test_run(wired, state).retval == 1
                if hook is Hook.OUTPUT:
                    packet = Packet(packet.data, kind=PacketType.UNICAST)
                result = simulator.run(packet, hook, around=AROUND)
                assert (result.verdict is Outcome.ACCEPT) == accepted, (
                    f"seed {seed}, {hook.name}, {packet}\n{text}"
                )
        raw = loaded.maps[COUNTERS_MAP].lookup(0)
        assert raw is not None
        counted = counters.sum_cpus(raw, compiled.counters_per_cpu, cpus)
        totals = counters.unpack(counted).tolist()
        # The loop counts returns in a counter that nobody sees.
        assert simulator.totals()[2:] == totals[2:], f"seed {seed}\n{text}"
