"""What clients run in: a machine of its own, in which this project's programs find their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.clients.host import open_host, to_host
from tests.harness.netns import Lab
from tests.harness.probes import Servers, ask
from tests.harness.sandbox import Command, CommandError, Sandbox
from tests.harness.waiting import wait_until

DROPPING = "*filter\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n"


def test_nothing_of_this_machine_is_in_there(root: Path) -> None:
    with open_host(root, Command.LEGACY) as host:
        assert host.run("ps -o comm= -p 1").strip() == "sh"
        assert "/mnt/outer" not in host.run("cat /proc/mounts")
        assert host.run("readlink /proc/1/ns/mnt") == host.run("readlink /proc/self/ns/mnt")
        assert "netns" not in host.run("ls /run")
        assert host.run("iptables -V").strip() == "iptables v1.8.11 (legacy)"
        host.box.write("/var/tmp/mark", "x")
    assert not (root / "var/tmp/mark").exists()


def test_nothing_is_left_of_it(root: Path) -> None:
    before = Path("/proc/self/mounts").read_text()
    with Lab() as lab:
        box = Sandbox.open(root, lab.firewall, Command.NFT)
        box.start("sleep", "1000")
        box.shell("setsid sleep 1000 < /dev/null > /dev/null 2>&1 &")
        inside = [Path("/proc", pid) for pid in _processes(box)]
        assert len(inside) == 4
        box.close()
        assert not [process for process in inside if process.exists()]
        assert box.cgroup is None or not box.cgroup.exists()
    assert Path("/proc/self/mounts").read_text() == before


def _processes(box: Sandbox) -> list[str]:
    space = os.readlink(f"/proc/{box.pid}/ns/pid")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns/pid") == space:
                found.append(process.name)
        except OSError:  # it has ended since
            continue
    return found


def test_a_failed_command_tells_what_it_printed(root: Path) -> None:
    failing = pytest.raises(CommandError, match="exit 3\nthe reason")
    with Lab() as lab, Sandbox.open(root, lab.firewall, Command.LEGACY) as box, failing:
        box.shell("echo the reason >&2; exit 3")


def test_our_rules_are_pinned_in_there_and_end_with_it(root: Path) -> None:
    probe = to_host("tcp/22", families="4")
    with Lab() as lab, Servers(lab.firewall, tcp=[22]):
        namespaces = {"client": lab.client}
        with Sandbox.open(root, lab.firewall, Command.BPF) as box:
            box.write("/root/rules", DROPPING)
            box.run("bpfilter", "apply", "/root/rules")
            assert "bpf /run/bpfilter/bpf bpf" in box.read("/proc/mounts")
            assert list(ask(probe, namespaces).values()) == ["silent"]
        wait_until(lambda: list(ask(probe, namespaces).values()) == ["open"], "port 22 is open")
