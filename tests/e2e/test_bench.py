"""The benchmark end to end, small: all peers take rules and count what was sent."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import calls, families, loading, throughput
from bench.commands import CommandFailed, Commands, installed
from bench.families import Verdicts
from bench.peers import EmptyHookPeer, IptablesPeer, NftSetPeer, OurPeer, Peer
from bench.plan import Bench, Plan
from bench.results import CALLS, EVEN, LEGACY, NFT, OURS, PEERS, WORST, Results, What
from bench.rig import Mismatch, Rig, Traffic
from bench.traffic import Generator
from bpfilter.kernel.linux import LinuxKernel
from tests.harness.netns import Namespace, leftovers

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with installed() as made:
        yield made


def bench_of(commands: Commands, files: Path, peers: list[Peer] | None = None) -> Bench:
    kernel = LinuxKernel()
    every: list[Peer] = [
        OurPeer(commands),
        IptablesPeer(commands, LEGACY, 20),
        IptablesPeer(commands, NFT, 10),
        NftSetPeer(commands),
        EmptyHookPeer(kernel),
    ]
    sizes = {"hosts": [10, 30], "kube": [20]}
    plan = Plan(
        sizes,
        rounds=1,
        seconds=0.05,
        loads=1,
        changes=1,
        limit_s=60,
        timed_from=10,
        calls=2,
        tables={calls.SERVER: [calls.SERVER_RULES], "acl": [30]},
    )
    return Bench(kernel, peers or every, plan, Results({}), files, say=lambda text: None)


def test_everybody_is_measured(commands: Commands, tmp_path: Path) -> None:
    bench = bench_of(commands, tmp_path)
    for name in bench.plan.sizes:
        throughput.measure(bench, name)
        loading.measure(bench, name)
    results = bench.results
    for peer in PEERS[:5]:
        for packets in (EVEN, WORST):
            assert results.median(What.THROUGHPUT, "hosts", 10, peer, packets)
    assert results.median(What.THROUGHPUT, "hosts", 30, "bpfilter", EVEN)
    assert results.median(What.THROUGHPUT, "kube", 20, LEGACY, WORST)
    left_out = results.find(What.THROUGHPUT, "hosts", 30, LEGACY)
    assert left_out is not None
    assert "measured up to 20" in left_out.reason
    for peer in PEERS[:4]:
        load = results.find(What.LOAD, "hosts", 10, peer)
        assert load is not None
        assert len(load.values) == 2  # one of them for the packets
        assert results.median(What.CHANGE, "hosts", 10, peer)
        peak = results.median(What.PEAK, "hosts", 10, peer)
        assert peak is not None
        assert 1 << 20 < peak < 1 << 30
    maps = results.median(What.MAPS, "hosts", 10, "bpfilter")
    assert maps is not None
    assert 4096 < maps < 1 << 24


def test_rules_that_let_packets_through_are_noticed(commands: Commands, tmp_path: Path) -> None:
    kernel = LinuxKernel()
    family = families.make("hosts", 10, verdicts=Verdicts.DROP)
    less = dataclasses.replace(family, text=family.text.replace("-j DROP", "-j ACCEPT", 1))
    with (
        Generator(kernel, family.packets) as even,
        Generator(kernel, family.worst) as worst,
        Rig(IptablesPeer(commands, LEGACY, 10), less, Traffic(even, worst), tmp_path, 30) as rig,
    ):
        rig.burst(EVEN, 0.05)
        with pytest.raises(Mismatch, match="came through"):
            rig.verify()


def test_every_command_is_called(commands: Commands, tmp_path: Path) -> None:
    bench = bench_of(commands, tmp_path)
    calls.measure(bench, commands)
    for name, (size,) in bench.plan.tables.items():
        for what in CALLS:
            assert bench.results.peers(what, name) == [OURS, LEGACY, NFT]
            for peer in (OURS, LEGACY, NFT):
                figure = bench.results.find(what, name, size, peer)
                assert figure is not None
                assert not figure.reason
                assert len(figure.values) == bench.plan.calls
    assert not leftovers(os.getpid())


def test_who_cannot_load_a_table_is_not_called(commands: Commands, tmp_path: Path) -> None:
    class Missing(IptablesPeer):
        def __init__(self) -> None:
            super().__init__(commands, NFT, 10)
            self.iptables = "false-iptables"

    bench = bench_of(commands, tmp_path, [Missing(), IptablesPeer(commands, LEGACY, 10)])
    calls.measure(bench, commands)
    figure = bench.results.find(What.APPEND, calls.SERVER, calls.SERVER_RULES, NFT)
    assert figure is not None
    assert "false-iptables-restore" in figure.reason
    assert not figure.values
    assert bench.results.median(What.SAVED, "acl", 30, LEGACY)


def test_a_table_that_is_not_what_it_was_is_noticed(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(commands, tmp_path, [IptablesPeer(commands, LEGACY, 10)])
    without = tuple(what for what in calls.ORDER if what is not What.DELETE)
    monkeypatch.setattr(calls, "ORDER", without)
    with pytest.raises(Mismatch, match="7 rules of 5"):
        calls.measure(bench, commands)


def test_a_command_that_fails_or_takes_too_long_is_told(commands: Commands) -> None:
    with Namespace("bench") as namespace:
        with pytest.raises(CommandFailed, match="not done after"):
            commands.measure(namespace, ["sleep", "30"], 0.2)
        with pytest.raises(CommandFailed, match=r"missing\.v4"):
            commands.measure(namespace, [commands.ours, "apply", "missing.v4"], 30)


def test_the_peak_is_the_commands_own(commands: Commands) -> None:
    ballast = bytearray(os.urandom(1 << 20) * 64)  # of this process, not to be counted
    grow = [sys.executable, "-c", "bytearray(b'x' * (100 << 20))"]
    with Namespace("bench") as namespace:
        small = commands.measure(namespace, ["true"], 30)
        large = commands.measure(namespace, grow, 30)
    assert small.peak_bytes < len(ballast)
    assert large.peak_bytes > small.peak_bytes


def test_the_command_keeps_figures_and_leaves_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "results.json"
    document = tmp_path / "page.md"
    marks = (ROOT / "docs" / "performance.md").read_text("utf-8")
    document.write_text(marks)
    words = ["--quick", "--families", "hosts", "--sizes", "1,10", "--rounds", "1"]
    done = subprocess.run(
        [str(ROOT / "bench" / "run"), *words, "--json", str(figures), "--write", str(document)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hosts: throughput at 1 rule / an empty hook" in done.stdout
    kinds = {figure["what"] for figure in json.loads(figures.read_text())["figures"]}
    assert {"throughput", "test run", "load", "iptables -A", "iptables-save"} <= kinds
    assert "![throughput](page/throughput.svg)" in document.read_text()
    assert (tmp_path / "page" / "throughput.svg").exists()
    assert not leftovers()


def test_an_interrupted_run_leaves_nothing() -> None:
    words = [str(ROOT / "bench" / "run"), "--quick", "--families", "hosts", "--sizes", "10"]
    process = subprocess.Popen(
        [*words, "--parts", "throughput", "--rounds", "1000"],
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if "round 2" in line:
            break
    process.send_signal(2)
    errors = process.stderr.read()
    assert process.wait() == 130
    assert "everything it made is gone" in errors
    process.stdout.close()
    process.stderr.close()
    assert not list(Path("/run/netns").glob(f"bpft-{process.pid}-*"))
