"""Whatever goes wrong while rules are changed, the old or the new ruleset is whole."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfilter import Error, Family, Firewall
from bpfilter.bpf.link import NetfilterLink
from bpfilter.errors import BusyError, StateError
from bpfilter.firewall import confirm
from bpfilter.firewall.store import open_store
from bpfilter.rules.model import Hook, Ruleset
from tests.e2e.test_apply import reached, rules, table
from tests.harness import faults
from tests.harness.netns import Namespace
from tests.harness.waiting import wait_until
from tests.harness.world import COMMANDS

pytestmark = pytest.mark.e2e

BPFILTER = str(COMMANDS / "bpfilter")

# Both drop pings to .2; one drops .3 and the other .4: packets tell which is in force.
OLD = rules(
    "-A INPUT -d 127.0.0.2/32 -j DROP",
    "-A INPUT -d 127.0.0.3/32 -j DROP",
    "-A OUTPUT -d 127.0.0.9/32 -j DROP",
)
NEW = rules(
    "-A INPUT -d 127.0.0.2/32 -j DROP",
    "-A INPUT -d 127.0.0.4/32 -j DROP",
    "-A OUTPUT -d 127.0.0.9/32 -j DROP",
)


def in_force(firewall: Firewall, namespace: Namespace) -> Ruleset | None:
    """Tell by packets alone which ruleset is in force, and that it is whole."""
    addresses = {f"127.0.0.{n}": n for n in (2, 3, 4, 9)}
    got = reached(namespace, *addresses)
    dropped = {n for address, n in addresses.items() if address not in got}
    if dropped == {2, 3, 9}:
        return OLD
    if dropped == {2, 4, 9}:
        return NEW
    assert not dropped, f"a mixture drops {dropped}"
    return None


def steps_of_apply(namespace: Namespace, before: Ruleset | None) -> int:
    kernel = faults.CountedKernel()
    firewall = Firewall(str(namespace.path), kernel=kernel)
    firewall.clear(Family.IPV4)
    if before is not None:
        firewall.apply(before)
    kernel.steps = 0
    firewall.apply(NEW)
    return kernel.steps


@pytest.mark.slow
@pytest.mark.parametrize("before", [OLD, None], ids=["replacing", "first"])
def test_killed_at_every_step(
    firewall: Firewall, namespace: Namespace, before: Ruleset | None
) -> None:
    steps = steps_of_apply(namespace, before)
    assert steps > 10
    seen = set()
    for step in range(steps):
        firewall.clear(Family.IPV4)
        if before is not None:
            firewall.apply(before)
            assert not reached(namespace, "127.0.0.2")
        victim = Firewall(str(namespace.path), kernel=faults.killing(step))
        assert faults.killed_in_child(lambda: victim.apply(NEW))  # noqa: B023 - runs at once
        found = in_force(firewall, namespace)
        assert found in (before, NEW), f"killed at step {step}"
        seen.add(id(found))
        # The next command finishes or undoes it, and counters that stay are not lost.
        firewall.apply(NEW)
        assert in_force(firewall, namespace) is NEW
        if before is not None:
            counted = table(firewall).chain("INPUT").rules[0].counters.packets
            assert counted == 3, f"killed at step {step}"
    assert len(seen) == 2, "the change was never interrupted on both sides of the switch"


@pytest.mark.slow
def test_clear_killed_at_every_step(firewall: Firewall, namespace: Namespace) -> None:
    tracking = rules(
        *(f"-A INPUT -d 127.0.0.{n}/32 -j DROP" for n in (2, 3)),
        "-A OUTPUT -d 127.0.0.9/32 -j DROP",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
    )
    other = rules("-A INPUT -j DROP", family=Family.IPV6)
    killed, step = True, -1
    while killed:
        step += 1
        firewall.apply(tracking)
        firewall.apply(other)
        victim = Firewall(str(namespace.path), kernel=faults.killing(step))
        killed = faults.killed_in_child(lambda: victim.clear(Family.IPV4))  # noqa: B023
        assert in_force(firewall, namespace) in (OLD, None), f"killed at step {step}"
        assert table(firewall, Family.IPV6).chain("INPUT").rules, f"killed at step {step}"
        if step % 2:
            firewall.apply(NEW)
            assert in_force(firewall, namespace) is NEW, f"killed at step {step}"
            assert not firewall.status().families[0].problems
        firewall.clear(Family.IPV4)
        assert in_force(firewall, namespace) is None
        assert firewall.table(Family.IPV4) is None
        assert not any(family.problems for family in firewall.status().families)
        assert "bpfilter" not in namespace.run("nft", "list", "tables")
    assert step > 20


def error_of(work: Callable[[], object]) -> str:
    """Give the error some work ends with, empty if it does not."""
    try:
        work()
    except Error as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_every_call_failing(
    firewall: Firewall, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """An apply that fails has changed nothing; one that does not tells what is left to do."""
    steps = steps_of_apply(namespace, OLD)
    failed = 0
    for step in range(steps):
        firewall.clear(Family.IPV4)
        firewall.apply(OLD)
        assert not reached(namespace, "127.0.0.2")
        broken = Firewall(str(namespace.path), kernel=faults.failing(step, errno.ENOSPC))
        caplog.clear()
        said = error_of(lambda: broken.apply(NEW))  # noqa: B023 - runs at once
        if said:
            failed += 1
            assert "made to fail" in said
            assert in_force(firewall, namespace) is OLD, f"failed at step {step}"
        else:
            assert in_force(firewall, namespace) is NEW, f"failed at step {step}"
            assert "in force, but" in caplog.text
        # What was counted by a rule that stays is there in any case, at once and later.
        assert table(firewall).chain("INPUT").rules[0].counters.packets == 2, f"step {step}"
        firewall.apply(NEW)
        assert in_force(firewall, namespace) is NEW
        assert not firewall.status().families[0].problems
        assert table(firewall).chain("INPUT").rules[0].counters.packets == 3, f"step {step}"
    assert 10 < failed < steps - 3


def test_a_link_taken_away_is_noticed_and_repaired(
    firewall: Firewall, namespace: Namespace
) -> None:
    firewall.apply(OLD)
    with firewall.kernel.in_netns(str(namespace.path)):
        store = open_store(firewall.kernel)
    store.link_path(Family.IPV4, Hook.INPUT).unlink()
    wait_until(lambda: reached(namespace, "127.0.0.2"), "the link let go of")
    problems = firewall.status().families[0].problems
    assert any("INPUT" in problem for problem in problems)
    firewall.apply(OLD)
    assert in_force(firewall, namespace) is OLD
    assert not firewall.status().families[0].problems


def test_a_link_detached_is_noticed_and_repaired(firewall: Firewall, namespace: Namespace) -> None:
    """As `bpftool link detach` does: the pin stays, and looks as before."""
    firewall.apply(OLD)
    with firewall.kernel.in_netns(str(namespace.path)):
        store = open_store(firewall.kernel)
    with NetfilterLink.open(firewall.kernel, store.link_path(Family.IPV4, Hook.INPUT)) as link:
        link.detach()
    assert reached(namespace, "127.0.0.2")
    (problem,) = firewall.status().families[0].problems
    assert "the link at INPUT is gone" in problem
    assert reached(namespace, "127.0.0.2"), "looking has attached something"
    firewall.apply(OLD)
    assert in_force(firewall, namespace) is OLD
    assert not firewall.status().families[0].problems


@pytest.mark.parametrize("name", ["selector", "programs"])
def test_a_map_of_the_dispatchers_unpinned(
    firewall: Firewall, namespace: Namespace, name: str
) -> None:
    firewall.apply(OLD)
    with firewall.kernel.in_netns(str(namespace.path)):
        store = open_store(firewall.kernel)
    (store.pins / name).unlink()
    with pytest.raises(StateError, match="lost its pins"):
        firewall.table(Family.IPV4)
    assert any("lost its pins" in problem for problem in firewall.status().families[0].problems)
    firewall.apply(NEW)
    assert in_force(firewall, namespace) is NEW
    assert not firewall.status().families[0].problems
    (store.pins / name).unlink()
    assert firewall.clear(Family.IPV4)
    assert in_force(firewall, namespace) is None
    assert firewall.table(Family.IPV4) is None


def test_lost_state_files_are_said_and_cleared(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply(OLD)
    for path in firewall.state_directory().glob("*.json"):
        path.unlink()
    assert in_force(firewall, namespace) is OLD
    with pytest.raises(StateError, match="bpfilter clear"):
        firewall.table(Family.IPV4)
    firewall.apply(NEW)
    assert in_force(firewall, namespace) is NEW
    for path in firewall.state_directory().glob("*.json"):
        path.write_text("{")
    assert firewall.clear(Family.IPV4)
    assert in_force(firewall, namespace) is None


def test_two_writers_at_once(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply(OLD)
    failures: list[BaseException] = []

    def write(ruleset: Ruleset) -> None:
        try:
            for _ in range(5):
                Firewall(str(namespace.path), wait_s=60).apply(ruleset)
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    threads = [threading.Thread(target=write, args=(ruleset,)) for ruleset in (OLD, NEW)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert in_force(firewall, namespace) in (OLD, NEW)
    with firewall.kernel.in_netns(str(namespace.path)):
        store = open_store(firewall.kernel)
    with store.lock(0), pytest.raises(BusyError):
        Firewall(str(namespace.path), wait_s=0).apply(NEW)


def test_looking_while_others_change(firewall: Firewall, namespace: Namespace) -> None:
    """Whoever looks sees one ruleset, whole, with all that was ever counted by it."""
    firewall.apply(OLD)
    assert not reached(namespace, "127.0.0.2", "127.0.0.9")
    seen: list[tuple[int, ...]] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def look() -> None:
        try:
            while not stop.is_set():
                found = Firewall(str(namespace.path), wait_s=60)
                rules = table(found).chain("INPUT").rules + table(found).chain("OUTPUT").rules
                seen.append(tuple(rule.counters.packets for rule in rules))
                assert not found.status().families[0].problems
                time.sleep(0.01)  # whoever changes waits until nobody looks
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    def swap() -> bool:
        for ruleset in (NEW, OLD) * 10:
            firewall.apply(ruleset)
        return len(seen) > 10 or bool(failures)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(swap, "more than ten looks", seconds=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert set(seen) == {(1, 0, 1)}


def test_looking_while_counters_are_set_to_zero(firewall: Firewall, namespace: Namespace) -> None:
    """What is counted between reading the kernel's numbers and ours never comes out negative."""
    firewall.apply(OLD)
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            reached(namespace, "127.0.0.2")

    def zero() -> None:
        while not stop.is_set():
            Firewall(str(namespace.path), wait_s=60).zero(Family.IPV4)

    threads = [threading.Thread(target=work) for work in (count, zero)]
    for thread in threads:
        thread.start()
    try:
        seen = [table(firewall).chain("INPUT").rules[0].counters.packets for _ in range(200)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert max(seen) < 1 << 32
    assert any(seen)


def test_damaged_counters_are_said_and_repaired(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply(OLD)
    assert not reached(namespace, "127.0.0.2")
    for damage in (b"", b"1234567", bytes(16)):
        (path,) = firewall.state_directory().glob("*.base")
        path.write_bytes(damage)
        with pytest.raises(StateError, match=r"\.base: .*'bpfilter zero' repairs it"):
            firewall.table(Family.IPV4)
        assert any(".base" in problem for problem in firewall.status().families[0].problems)
        assert in_force(firewall, namespace) is OLD
        firewall.zero(Family.IPV4)
        assert table(firewall).chain("INPUT").rules[0].counters.packets == 0
    path.write_bytes(b"")
    firewall.apply(NEW)
    assert in_force(firewall, namespace) is NEW
    assert table(firewall).chain("INPUT").rules[0].counters.packets == 1
    assert not firewall.status().families[0].problems


@pytest.mark.slow
def test_five_hundred_swaps_let_nothing_through(firewall: Firewall, namespace: Namespace) -> None:
    # Both rulesets drop UDP to port 9; a socket there must see nothing while they are swapped.
    drop = "-A INPUT -p udp --dport 9 -j DROP"
    one = rules(drop, "-A INPUT -s 192.0.2.1/32 -j DROP")
    two = rules("-A INPUT -s 192.0.2.2/32 -j DROP", drop)
    firewall.apply(one)
    with namespace.entered():
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

    thread = threading.Thread(target=send)
    thread.start()
    try:
        target = firewall.target()
        for turn in range(500):
            firewall.apply((two, one)[turn % 2], target=target)
    finally:
        stop.set()
        thread.join()
    with pytest.raises(BlockingIOError):
        listener.recv(16)
    assert sent > 500
    # Nor was a packet left uncounted: the rule is in both.
    counted = [
        rule.counters.packets
        for rule in table(firewall).chain("INPUT").rules
        if rule.protocol is not None
    ]
    assert counted == [sent]
    listener.close()
    sender.close()


def test_confirm_rolls_back_even_if_the_command_is_killed(
    firewall: Firewall, namespace: Namespace, tmp_path: Path
) -> None:
    from bpfilter import format_saved

    firewall.apply(OLD)
    path = tmp_path / "new.v4"
    path.write_text(format_saved(NEW))
    command = [BPFILTER, "apply", "--netns", str(namespace.path), "--confirm", "3", str(path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert b"bpfilter confirm" in running.stdout.readline()
        assert in_force(firewall, namespace) is NEW
        os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: in_force(firewall, namespace) is OLD, "the roll-back", seconds=15)


def test_confirm_keeps_the_rules(firewall: Firewall, namespace: Namespace, tmp_path: Path) -> None:
    from bpfilter import format_saved

    firewall.apply(OLD)
    path = tmp_path / "new.v4"
    path.write_text(format_saved(NEW))
    netns = ["--netns", str(namespace.path)]
    command = [BPFILTER, "apply", *netns, "--confirm", "20", str(path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        subprocess.run([BPFILTER, "confirm", *netns], check=True)
        assert b"confirmed" in running.stdout.read()
        assert running.wait() == 0
    assert in_force(firewall, namespace) is NEW
    assert subprocess.run([BPFILTER, "confirm", *netns], check=False).returncode == 1


def test_the_time_to_confirm_begins_when_the_rules_are_in_force(
    firewall: Firewall, namespace: Namespace
) -> None:
    """Rules that take longer to load than there is time come after a roll-back, and would stay."""
    firewall.apply(OLD)
    pending = confirm.start(firewall, Family.IPV4, 1)
    time.sleep(1.5)
    generation = firewall.apply(NEW)
    pending.arm(generation.applied_at)
    assert in_force(firewall, namespace) is NEW
    assert pending.wait()
    assert in_force(firewall, namespace) is OLD


def test_rules_applied_by_others_meanwhile_stay(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply(OLD)
    pending = confirm.start(firewall, Family.IPV4, 1)
    pending.arm(firewall.apply(OLD).applied_at)
    firewall.apply(NEW)
    assert not pending.wait()
    assert in_force(firewall, namespace) is NEW


def test_too_late_is_said_so(firewall: Firewall, namespace: Namespace) -> None:
    """Once the roll-back has begun there is nothing to confirm."""
    firewall.apply(OLD)
    pending = confirm.start(firewall, Family.IPV4, 60)
    with pytest.raises(BusyError, match="still waits"):
        confirm.start(firewall, Family.IPV4, 60)
    pending.arm(firewall.apply(NEW).applied_at)
    elsewhere = confirm.find(firewall.state_directory(), Family.IPV4)
    assert elsewhere is not None
    with firewall.kernel.in_netns(str(namespace.path)):
        store = open_store(firewall.kernel)
    with store.lock(10):  # the roll-back has to wait
        pending.reject()
        wait_until(lambda: not pending.is_open, "the roll-back begun", seconds=30)
        assert not pending.confirm()
        assert not elsewhere.confirm()
        assert confirm.find(firewall.state_directory(), Family.IPV4) is None
    assert pending.wait()
    assert in_force(firewall, namespace) is OLD


def test_a_guardian_that_was_killed_keeps_nobody_waiting(
    firewall: Firewall, namespace: Namespace
) -> None:
    firewall.apply(OLD)
    pending = confirm.start(firewall, Family.IPV4, 60)
    path = firewall.state_directory() / "pending-iptables"
    os.kill(int(path.read_text()), signal.SIGKILL)
    assert not pending.wait()
    assert path.exists()
    assert confirm.find(firewall.state_directory(), Family.IPV4) is None
    again = confirm.start(firewall, Family.IPV4, 60)
    assert again.is_open
    assert again.confirm()
    assert not again.wait()
