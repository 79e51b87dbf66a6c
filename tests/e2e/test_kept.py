"""Rules saved to files and put back, at boot as well: what passes, and what does if that fails."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfilter import Family, Firewall
from bpfilter.cli.main import main
from bpfilter.errors import KernelError, RestrictedError
from bpfilter.iptables import kept
from tests.e2e.test_adopt import DROP, REJECT, Host, host
from tests.e2e.test_apply import pinged, reached
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

__all__ = ["host"]  # a fixture


@dataclass
class Machine:
    """A host with a directory of saved rules, and what it is told."""

    host: Host
    directory: Path
    capsys: pytest.CaptureFixture[str]
    said: str = ""

    def run(self, command: str, *words: str) -> int:
        where = str(self.directory)
        netns = ("--netns", str(self.host.namespace.path))
        status = main([command, *netns, *words, where])
        shown = self.capsys.readouterr()
        self.said = shown.out + shown.err
        return status

    def file(self, name: str) -> Path:
        return self.directory / name


@pytest.fixture
def machine(host: Host, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Machine:
    directory = tmp_path / "saved"
    directory.mkdir()
    return Machine(host, directory, capfd)


def configure(tmp_path: Path, text: str) -> None:
    (tmp_path / "bpfilter.conf").write_text(text)


def test_all_tables_come_back(machine: Machine, host: Host, firewall: Firewall) -> None:
    host.iptables("nft", DROP, "-t nat -A OUTPUT -d 127.0.0.9 -j ACCEPT")
    host.iptables("nft", REJECT.replace("127.0.0.3/32", "::3"), command="ip6tables")
    host.adopt()
    host.adopt(family=Family.IPV6)
    assert not reached(host.namespace, "127.0.0.2")
    assert machine.run("save", "--counters", "-v") == 0
    assert machine.said.split() == [str(machine.file(name)) for name in ("rules.v4", "rules.v6")]
    assert {path.stat().st_mode & 0o777 for path in machine.directory.iterdir()} == {0o600}
    assert f"[1:29] {DROP}" in machine.file("rules.v4").read_text()

    firewall.clear(Family.IPV4)
    for command in ("iptables", "ip6tables"):
        host.iptables("nft", "-F", "-t nat -F", command=command)
    firewall.mark(Family.IPV6, None)
    assert reached(host.namespace, "127.0.0.2")
    assert machine.run("restore", "--boot") == 0
    assert not reached(host.namespace, "127.0.0.2")
    table = firewall.table(Family.IPV4)
    assert table is not None
    assert table.chain("INPUT").rules[0].counters.packets == 2
    assert "-d 127.0.0.9/32" in host.namespace.run("iptables-nft-save", "-t", "nat")
    assert "-j REJECT" in host.namespace.run("ip6tables-nft-save", "-t", "filter")
    assert firewall.delegated(Family.IPV6) is not None


def test_rules_that_are_not_ours_are_not_left_out(
    machine: Machine, host: Host, firewall: Firewall
) -> None:
    host.iptables("legacy", DROP)
    assert machine.run("save") == 1
    assert "are iptables-legacy's, not bpfilter's; 'bpfilter adopt' takes them" in machine.said
    assert not list(machine.directory.iterdir())
    host.adopt()
    assert machine.run("save") == 0
    # All files or none.
    before = machine.file("rules.v4").read_bytes()
    machine.file("rules.v6").unlink()
    machine.file("rules.v6").mkdir()
    assert machine.run("save") == 1
    assert machine.said == f"bpfilter: {machine.file('rules.v6')}: Is a directory\n"
    assert machine.file("rules.v4").read_bytes() == before
    assert len(list(machine.directory.iterdir())) == 2


def test_a_file_that_is_wrong_changes_nothing(
    machine: Machine, host: Host, firewall: Firewall
) -> None:
    host.iptables("nft", DROP)
    host.adopt()
    assert machine.run("save") == 0
    machine.file("rules.v4").write_text(
        "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n-A OUTPUT --nothing\nCOMMIT\n"
    )
    assert machine.run("restore") != 0
    assert not reached(host.namespace, "127.0.0.2")
    machine.file("rules.v6").unlink()
    assert machine.run("restore") == 2
    assert "No such file" in machine.said


def test_boot_without_saved_rules(machine: Machine, host: Host, firewall: Firewall) -> None:
    assert machine.run("restore", "--boot") == 0
    assert pinged(host.namespace)
    assert not firewall.status().in_force


@pytest.mark.parametrize("text", ["boot-failure = closed\n", "boot-failure = clsoed\n"])
def test_boot_fails_closed(
    machine: Machine, host: Host, firewall: Firewall, tmp_path: Path, text: str
) -> None:
    configure(tmp_path, text)
    machine.file("rules.v4").write_text("*filter\n-A INPUT -j NONE\nCOMMIT\n")
    assert machine.run("restore", "--boot") == 2
    for name in ("IPv4", "IPv6"):
        assert f"{name} is closed but for loopback, by bpfilter" in machine.said
    with Namespace("peer") as peer:
        connect(host.namespace, peer)
        assert pinged(host.namespace)
        assert pinged(host.namespace, "::1")
        for there in ("192.0.2.2", "2001:db8::2"):
            assert not pinged(host.namespace, there)
        for here in ("192.0.2.1", "2001:db8::1"):
            assert not pinged(peer, here)
        # The other family's rules are in force if they can be.
        configure(tmp_path, "boot-failure = closed\n")
        machine.file("rules.v4").write_text("*filter\nCOMMIT\n")
        assert machine.run("restore", "--boot") == 2
        firewall.clear(Family.IPV4)
        assert machine.run("restore", "--boot") == 2
        assert "IPv4" not in machine.said
        assert pinged(peer, "192.0.2.1")
        assert not pinged(peer, "2001:db8::1")


def test_boot_fails_open(machine: Machine, host: Host, firewall: Firewall) -> None:
    machine.file("rules.v4").write_text("*filter\n-A INPUT -j NONE\nCOMMIT\n")
    machine.file("rules.v6").write_text("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
    assert machine.run("restore", "--boot") == 2
    assert pinged(host.namespace)
    assert not pinged(host.namespace, "::1")


def test_closed_by_the_kernels_own(
    machine: Machine,
    host: Host,
    firewall: Firewall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no eBPF can be loaded at all, as on an old kernel."""

    class NoFirewall(Firewall):
        def apply_text(self, *words: object, **named: object) -> None:  # type: ignore[override]
            raise RestrictedError("load", 1, "lockdown", "made to fail")

    configure(tmp_path, "boot-failure = closed\n")
    monkeypatch.setattr(kept, "Firewall", NoFirewall)
    assert machine.run("restore", "--boot") == 2
    assert "IPv6 is closed but for loopback, by ip6tables-nft" in machine.said
    assert "-P INPUT DROP" in host.namespace.run("ip6tables-nft", "-S")
    assert pinged(host.namespace)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("bpfilter.iptables.kernel_tool._SBIN", ())
    with host.namespace.entered(), pytest.raises(KernelError, match="made to fail"):
        kept.close(Family.IPV4)
    monkeypatch.undo()
    for command in ("iptables", "ip6tables"):
        host.iptables("nft", "-P OUTPUT ACCEPT", "-P INPUT ACCEPT", "-F", command=command)


def connect(here: Namespace, there: Namespace) -> None:
    """Give both an interface to the other."""
    here.ip(f"link add eth0 type veth peer name eth0 netns {there.name}")
    for at, number in ((here, 1), (there, 2)):
        at.ip(
            f"address add 192.0.2.{number}/24 dev eth0",
            f"address add 2001:db8::{number}/64 dev eth0 nodad",
            "link set eth0 up",
        )


def test_the_unit_is_one(tmp_path: Path) -> None:
    unit = Path(kept.__file__).parent / "data" / "bpfilter.service"
    made = tmp_path / "bpfilter.service"
    made.write_text(unit.read_text().replace("@BPFILTER@", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(made)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed")
    complaints = [line for line in done.stderr.splitlines() if "bpfilter.service" in line]
    assert not complaints
