"""The demonstration: it agrees, says so when it does not, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bpfilter import Counters, Family, parse_saved
from demo.measure import Measurement
from demo.report import compare
from tests.harness.netns import NETNS_DIRECTORY, PREFIX

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PINS = Path("/run/bpfilter/bpf")


def demo(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def namespaces_of(pid: int) -> set[str]:
    """Give the inodes, as pin directories are named, of a run's namespaces that are there."""
    found = set()
    for path in NETNS_DIRECTORY.glob(f"{PREFIX}{pid}-*"):
        try:
            found.add(str(path.stat().st_ino))
        except FileNotFoundError:  # gone since
            continue
    return found


@pytest.mark.slow
def test_everything_agrees() -> None:
    with demo() as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert not err
    assert not namespaces_of(process.pid)
    rules = re.search(r"rules and policies: (\d+) of (\d+) counted alike\n", out)
    assert rules is not None
    assert rules[1] == rules[2]
    assert int(rules[1]) == len(re.findall(r" yes +-[AP] ", out))
    assert int(rules[1]) > 80
    packets = re.search(r"packets: (\d+) of (\d+) counted alike", out)
    assert packets is not None
    assert packets[1] == packets[2]
    assert int(packets[1]) > 1000
    assert "everything agrees" in out.splitlines()[-1]
    assert "\x1b" not in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(number: int) -> None:
    with demo() as process:
        seen: set[str] = set()
        deadline = time.monotonic() + 60
        while not any((PINS / inode).exists() for inode in seen):
            assert time.monotonic() < deadline, "no rules in force"
            assert process.poll() is None
            seen |= namespaces_of(process.pid)
            time.sleep(0.01)
        os.killpg(process.pid, number)
        os.killpg(process.pid, number)  # an impatient second one does not hurt
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "demo: interrupted; everything it made is gone\n"
    assert not namespaces_of(process.pid)
    assert not [inode for inode in seen if (PINS / inode).exists()]


def test_a_file_that_is_wrong_is_an_error() -> None:
    with demo("/etc/hostname") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("bpfilter: /etc/hostname:1:1: ")
    assert not out


TEXT = """\
*filter
:INPUT DROP [1:100]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [5:500]
[3:300] -A INPUT -p icmp -j ACCEPT
[0:0] -A INPUT -p udp -j DROP
COMMIT
"""


def measurement(text: str = TEXT, outcome: str = "answered") -> Measurement:
    table = parse_saved(text, "test", Family.IPV4).table("filter")
    assert table is not None
    outcomes = [("INPUT", "desk pings", outcome)]
    return Measurement({Family.IPV4: outcomes}, {Family.IPV4: table}, ())


def test_what_agrees_is_counted() -> None:
    lines, score = compare(measurement(), measurement())
    assert score.is_perfect
    assert (score.rules, score.rules_equal, score.packets, score.packets_equal) == (5, 5, 9, 9)
    assert lines[Family.IPV4][0].rule == "-A INPUT -p icmp -j ACCEPT"
    assert lines[Family.IPV4][0].ours == Counters(3, 300)


@pytest.mark.parametrize(
    ("old", "new", "packets"),
    [
        ("[3:300]", "[3:301]", 9),  # bytes alone
        ("[3:300]", "[2:300]", 8),
        ("[0:0] -A", "[1:10] -A", 9),  # counted where nothing should be
        ("[1:100]", "[0:0]", 8),  # a policy
    ],
)
def test_what_differs_is_told(old: str, new: str, packets: int) -> None:
    _, score = compare(measurement(TEXT.replace(old, new)), measurement())
    assert not score.is_perfect
    assert (score.rules_equal, score.packets_equal) == (4, packets)


def test_outcomes_count_as_well() -> None:
    _, score = compare(measurement(), measurement(outcome="no answer"))
    assert not score.is_perfect
    assert (score.outcomes, score.outcomes_equal) == (1, 0)
    assert replace(score, outcomes_equal=1).is_perfect
