"""The benchmark's own programs: frames as they are to be, test runs that meet the rules."""

from __future__ import annotations

from ipaddress import IPv4Address

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from bench import families, testrun, traffic
from bench.lab import ROUTER_MAC, SENDER_MAC
from bench.rig import Mismatch
from bpfilter.abi.bpf import ProgramType
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.target import Target
from bpfilter.kernel.linux import LinuxKernel

XDP_TX = 3


def test_frames_are_those_of_the_trace(kernel: LinuxKernel, no_leaks: None) -> None:
    packets = families.make("acl", 50).packets[:200]
    maps = {
        name: Map.create(kernel, spec)
        for name, spec in traffic.trace_maps(traffic.trace_bytes(packets)).items()
    }
    spec = ProgramSpec("bench_send", ProgramType.XDP, traffic.instructions())
    with maps["trace"], maps["position"], Program.load(kernel, spec, maps) as program:
        # A router has left its marks on the frame before.
        used = bytes(12) + traffic.template()[12:]
        for packet in packets:
            run = program.test_run(used, out_bytes=traffic.FRAME_BYTES)
            assert run.retval == XDP_TX
            check_frame(run.data, packet)


def check_frame(data: bytes, packet: np.void) -> None:
    frame = Ether(data)
    assert (frame.dst, frame.src) == (ROUTER_MAC.hex(":"), SENDER_MAC.hex(":"))
    ip = frame[IP]
    assert int(IPv4Address(ip.src)) == packet["saddr"]
    assert int(IPv4Address(ip.dst)) == packet["daddr"]
    assert ip.proto == packet["proto"]
    assert ip.ttl == 64
    given = ip.chksum
    del ip.chksum
    assert Ether(bytes(frame))[IP].chksum == given
    for layer in (UDP, TCP):
        if layer in frame:
            assert (frame[layer].sport, frame[layer].dport) == (packet["sport"], packet["dport"])
    assert len(data) == traffic.FRAME_BYTES


@pytest.fixture(scope="module")
def target(kernel: LinuxKernel, types: KernelTypes) -> Target:
    return Target(types, kernel.cpu_numbers(), kernel.clock_hz())


@pytest.mark.parametrize("name", families.NAMES)
def test_a_test_run_meets_the_rules(kernel: LinuxKernel, target: Target, name: str) -> None:
    with testrun.TestRun(kernel, target, families.make(name, 30)) as run:
        assert run.run() > 0
        run.verify()


def test_a_trace_of_other_packets_is_noticed(kernel: LinuxKernel, target: Target) -> None:
    family = families.make("hosts", 30)
    others = np.roll(family.packets["rule"], 1)
    others[:100] = 0
    family.packets["rule"] = others
    with testrun.TestRun(kernel, target, family) as run:
        run.run()
        with pytest.raises(Mismatch, match="not those of the trace"):
            run.verify()


def test_the_empty_program_is_timed(kernel: LinuxKernel) -> None:
    packets = families.make("hosts", 1).packets
    with testrun.empty(kernel, packets) as program:
        assert testrun.time_program(program) > 0
