"""Whatever goes wrong while rules move, the old or the new ones are in force, and none is lost."""

from __future__ import annotations

import errno
import random
import socket
import subprocess
import sys
import threading
import time

import pytest

from bpfilter import Family, Firewall
from bpfilter.errors import BusyError, Error, KernelError, ToolError
from bpfilter.iptables import taking
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.kernel.linux import LinuxKernel
from tests.e2e.test_adopt import BOTH, DROP, Host, host, is_ours
from tests.e2e.test_apply import reached
from tests.harness import faults

pytestmark = pytest.mark.e2e

__all__ = ["host"]  # a fixture

_BPFILTER = "from bpfilter.cli.main import run; run()"


class UnableKernel(LinuxKernel):
    """Fails to delete the table, or does it and fails then."""

    def __init__(self, cleared: bool) -> None:
        self.cleared = cleared

    def delete_nft_table(self, family: int, name: str, generation: int) -> bool:
        if self.cleared:
            super().delete_nft_table(family, name, generation)
        raise KernelError("made to fail", errno.ENOSPC)


@pytest.mark.parametrize("cleared", [False, True])
def test_clearing_fails(host: Host, firewall: Firewall, cleared: bool) -> None:
    host.iptables("nft", DROP)
    with pytest.raises(KernelError, match="made to fail"):
        host.adopt(kernel=UnableKernel(cleared))
    assert host.drops()
    assert firewall.delegated(Family.IPV4) is None
    assert (firewall.table(Family.IPV4) is not None) is cleared
    assert len(host.rules("nft")) == (not cleared)


def test_clearing_fails_in_legacy(
    host: Host, firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tool: KernelTool, family: Family) -> None:
        raise ToolError("made to fail")

    host.iptables("legacy", DROP)
    monkeypatch.setattr(taking, "empty", fail)
    with pytest.raises(ToolError, match="made to fail"):
        host.adopt()
    assert host.drops()
    assert firewall.table(Family.IPV4) is None


class LateKernel(LinuxKernel):
    """Lets others change nf_tables right before the table is deleted."""

    def __init__(self, host: Host, *late: str) -> None:
        self.host = host
        self.late = list(late)

    def delete_nft_table(self, family: int, name: str, generation: int) -> bool:
        if self.late:
            self.host.iptables("nft", self.late.pop())
        return super().delete_nft_table(family, name, generation)


def test_a_change_at_the_last_moment_is_not_lost(host: Host, firewall: Firewall) -> None:
    late = ["-A INPUT -d 127.0.0.4/32 -j DROP", "-t nat -A OUTPUT -d 127.0.0.9 -j ACCEPT"]
    host.iptables("nft", DROP)
    host.adopt(kernel=LateKernel(host, *late))
    assert not host.rules("nft")
    assert not reached(host.namespace, "127.0.0.2", "127.0.0.4")
    assert "127.0.0.9" in host.namespace.run("iptables-nft-save", "-t", "nat")
    firewall.clear(Family.IPV4)
    host.iptables("nft", DROP)
    busy = LateKernel(host, *["-t nat -Z OUTPUT", "-t nat -A OUTPUT"] * 100)
    with pytest.raises(BusyError, match="keeps changing nf_tables; nothing was taken over"):
        host.adopt(kernel=busy)
    assert len(host.rules("nft")) == 1
    assert firewall.table(Family.IPV4) is None


@pytest.mark.slow
@BOTH
def test_adopt_killed_at_every_step(host: Host, firewall: Firewall, kind: str) -> None:
    host.iptables(kind, DROP)
    killed, step, seen = True, -1, set()
    while killed:
        step += 1
        kernel = faults.killing(step)
        killed = faults.killed_in_child(lambda: host.adopt(kernel=kernel))  # noqa: B023
        assert host.drops(), f"killed at step {step}"
        seen.add((bool(host.rules(kind)), is_ours(firewall)))
        # The next one finishes it, whatever was left.
        host.adopt()
        assert host.drops(), f"killed at step {step}"
        assert not host.rules(kind), f"killed at step {step}"
        assert firewall.delegated(Family.IPV4) is None, f"killed at step {step}"
        assert not firewall.status().families[0].unfinished
        host.release(kind)
        assert [line.partition("] ")[2] for line in host.rules(kind)] == [DROP]
    assert step > 10
    assert seen == {(True, False), (True, True), (False, True)}


@pytest.mark.slow
@BOTH
def test_release_killed_at_every_step(host: Host, firewall: Firewall, kind: str) -> None:
    host.iptables(kind, DROP)
    killed, step, seen = True, -1, set()
    while killed:
        step += 1
        host.adopt()
        assert not host.rules(kind)
        kernel = faults.killing(step)
        killed = faults.killed_in_child(lambda: host.release(kind, kernel=kernel))  # noqa: B023
        assert host.drops(), f"killed at step {step}"
        seen.add((bool(host.rules(kind)), is_ours(firewall)))
        host.release(kind)
        assert host.drops(), f"killed at step {step}"
        assert len(host.rules(kind)) == 1, f"killed at step {step}"
        assert firewall.delegated(Family.IPV4) is None, f"killed at step {step}"
        assert firewall.generation(Family.IPV4) is None, f"killed at step {step}"
    assert step > 10
    assert seen == {(False, True), (True, True), (True, False)}


@pytest.mark.slow
@BOTH
def test_commands_killed_at_any_time(host: Host, firewall: Firewall, kind: str) -> None:
    """Programs that they run go on; who comes next waits for those."""
    rng = random.Random(5)
    host.iptables(kind, DROP)
    netns = ["--netns", str(host.namespace.path)]
    took = 0.5
    for turn in range(24):
        words = ["adopt"] if turn % 2 else ["release", "--to", kind]
        command = [sys.executable, "-c", _BPFILTER, *words, "-4", *netns]
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            try:
                run.wait(rng.uniform(0.3, 1) * took)
                took = time.monotonic() - started
            except subprocess.TimeoutExpired:
                run.kill()
        assert host.drops(), f"turn {turn}"
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert host.drops(), f"turn {turn}"
        assert is_ours(firewall) is bool(turn % 2), f"turn {turn}"
        assert len(host.rules(kind)) == (not turn % 2), f"turn {turn}"
        assert firewall.delegated(Family.IPV4) is None, f"turn {turn}"


@pytest.mark.slow
def test_every_call_failing(host: Host, firewall: Firewall) -> None:
    host.iptables("nft", DROP)
    for work, back in ((host.adopt, host.release), (host.release, host.adopt)):
        step, failed = -1, True
        while failed:
            step += 1
            failed = False
            kernel = faults.failing(step, errno.ENOSPC)
            try:
                work(kernel=kernel)
            except Error:
                failed = True
            assert host.drops(), f"{work.__name__} failed at step {step}"
            work()
            assert host.drops(), f"{work.__name__} failed at step {step}"
            assert firewall.delegated(Family.IPV4) is None
            back()
        work()


@pytest.mark.slow
@BOTH
def test_nothing_passes_meanwhile(host: Host, firewall: Firewall, kind: str) -> None:
    host.iptables(kind, "-A INPUT -p udp --dport 9 -j DROP")
    with host.namespace.entered():
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 9))
        listener.settimeout(0)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set():
            sender.sendto(b"x", ("127.0.0.1", 9))
            sent += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(20):
            assert host.adopt().kept is None
            assert host.release(kind).rules == 1
    finally:
        stop.set()
        thread.join()
    with listener, sender, pytest.raises(BlockingIOError):
        listener.recv(16)
    (line,) = host.rules(kind)
    counted = int(line[1:].partition(":")[0])
    assert 0.5 * sent < counted <= sent


@pytest.mark.slow
def test_changes_at_any_time_are_not_lost(host: Host, firewall: Firewall) -> None:
    for turn in range(5):
        added = [f"-A INPUT -d 127.{turn}.1.{n}/32 -j DROP" for n in range(40)]
        host.iptables("nft", DROP, "-t nat -Z")
        thread = threading.Thread(target=host.iptables, args=("nft", *added))
        thread.start()
        time.sleep(0.05 * turn)
        try:
            host.adopt()
        except BusyError:
            assert firewall.generation(Family.IPV4) is None
        finally:
            thread.join()
        found = firewall.written(Family.IPV4) or []
        ours = [line for chain in found for line in chain.lines]
        theirs = [line.partition("] ")[2] for line in host.rules("nft")]
        assert sorted(ours + theirs) == sorted([DROP, *added])
        firewall.clear(Family.IPV4)
        host.iptables("nft", "-F")
