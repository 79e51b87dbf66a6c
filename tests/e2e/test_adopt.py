"""Rules taken over from the kernel's own iptables and given back: verdicts, counters, kills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bpfilter import Counters, Family, Firewall
from bpfilter.cli.main import main
from bpfilter.errors import Error, StateError, ToolError
from bpfilter.firewall.generation import Generation
from bpfilter.iptables import home, taking
from bpfilter.iptables.adopt import Adopted, adopt, settle
from bpfilter.iptables.home import FilterTable
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.iptables.release import Released, release
from bpfilter.kernel.linux import LinuxKernel
from tests.e2e.test_apply import reached
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

BOTH = pytest.mark.parametrize("kind", ["nft", "legacy"])
DROP = "-A INPUT -d 127.0.0.2/32 -j DROP"
REJECT = "-A INPUT -d 127.0.0.3/32 -p udp -j REJECT"


@dataclass
class Host:
    """A namespace as a machine: the kernel's iptables, and ours."""

    namespace: Namespace

    def iptables(self, kind: str, *lines: str, command: str = "iptables") -> None:
        for line in lines:
            self.namespace.run(f"{command}-{kind}", *line.split())

    def rules(self, kind: str, command: str = "iptables") -> list[str]:
        """Give the filter rules of the kernel's, with their counters."""
        saved = self.namespace.run(f"{command}-{kind}-save", "-c", "-t", "filter")
        return [line for line in saved.splitlines() if " -A " in line]

    def adopt(
        self,
        kind: str | None = None,
        *,
        family: Family = Family.IPV4,
        dry_run: bool = False,
        kernel: LinuxKernel | None = None,
    ) -> Adopted:
        with self.namespace.entered():
            return adopt(table(family, kernel), kind, dry_run=dry_run)

    def release(self, kind: str | None = None, *, kernel: LinuxKernel | None = None) -> Released:
        with self.namespace.entered():
            return release(table(Family.IPV4, kernel), kind)

    def drops(self) -> bool:
        return not reached(self.namespace, "127.0.0.2")


def table(family: Family, kernel: LinuxKernel | None) -> FilterTable:
    made = FilterTable(family)
    made.firewall = Firewall(kernel=kernel)
    return made


@pytest.fixture
def host(namespace: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "lock"))
    monkeypatch.setenv("BPFILTER_CONF", str(tmp_path / "bpfilter.conf"))
    yield Host(namespace)
    for family in Family:
        Firewall(str(namespace.path)).mark(family, None)


def counted(firewall: Firewall) -> list[int]:
    found = firewall.table(Family.IPV4)
    assert found is not None
    return [rule.counters.packets for rule in found.chain("INPUT").rules]


def is_ours(firewall: Firewall) -> bool:
    return firewall.status().families[0].generation is not None


@BOTH
def test_there_and_back(host: Host, firewall: Firewall, kind: str) -> None:
    host.iptables(kind, DROP, "-A INPUT -m conntrack --ctstate NEW", "-P FORWARD DROP", "-N own")
    host.iptables(kind, "-A own -i eth7 -j RETURN")
    assert host.drops()
    got = host.adopt()
    assert got.found is not None
    assert (got.found.tool.kind, got.found.rules, got.kept) == (kind, 3, None)
    assert not host.rules(kind)
    assert host.drops()
    assert counted(firewall)[0] == 2
    in_force = firewall.table(Family.IPV4)
    assert in_force is not None
    assert in_force.chain("FORWARD").policy == "DROP"
    assert firewall.delegated(Family.IPV4) is None

    assert host.release(kind) == Released(Family.IPV4, KernelTool(kind), 3)
    assert firewall.table(Family.IPV4) is None
    assert firewall.delegated(Family.IPV4) is None
    assert host.drops()
    assert host.rules(kind)[0] == f"[3:87] {DROP}"
    assert "-P FORWARD DROP" in host.namespace.run(f"iptables-{kind}", "-S")


@BOTH
def test_what_cannot_be_enforced_stays(host: Host, firewall: Firewall, kind: str) -> None:
    host.iptables(kind, DROP, REJECT)
    before = host.rules(kind)
    looked = host.adopt(dry_run=True)
    assert looked.kept is not None
    assert firewall.delegated(Family.IPV4) is None
    got = host.adopt()
    assert got.kept is not None
    assert got.kept.rule == f"{REJECT} --reject-with icmp-port-unreachable"
    assert "REJECT" in got.kept.reason
    assert host.rules(kind) == before
    assert firewall.table(Family.IPV4) is None
    marked = firewall.delegated(Family.IPV4)
    assert marked is not None
    assert marked.tool == kind
    # Without the rule it can be.
    host.iptables(kind, REJECT.replace("-A", "-D"))
    assert host.adopt().kept is None
    assert firewall.delegated(Family.IPV4) is None
    assert not host.rules(kind)
    assert host.drops()


def test_refusing_changes_nothing(host: Host, firewall: Firewall, tmp_path: Path) -> None:
    (tmp_path / "bpfilter.conf").write_text("unenforceable = refuse\n")
    host.iptables("nft", DROP, REJECT)
    with pytest.raises(Error, match="REJECT"):
        host.adopt()
    assert len(host.rules("nft")) == 2
    assert firewall.delegated(Family.IPV4) is None
    assert firewall.table(Family.IPV4) is None


def test_rules_in_both(host: Host, firewall: Firewall) -> None:
    host.iptables("nft", DROP)
    host.iptables("legacy", "-A INPUT -d 127.0.0.4/32 -j DROP")
    with pytest.raises(ToolError, match="--from nft or --from legacy"):
        host.adopt()
    got = host.adopt("legacy")
    assert got.found is not None
    assert got.found.tool.kind == "legacy"
    assert len(host.rules("nft")) == 1
    assert not host.rules("legacy")
    with pytest.raises(StateError, match="'bpfilter clear -4' or 'iptables-nft -F'"):
        host.adopt()
    with pytest.raises(ToolError, match="iptables-nft has filter rules of its own"):
        host.release()
    assert host.release("legacy").rules == 1


def test_beside_a_delegated_table(host: Host, firewall: Firewall) -> None:
    host.iptables("nft", REJECT)
    host.adopt()
    host.iptables("legacy", DROP)
    with pytest.raises(StateError, match="iptables-legacy cannot be in force beside it"):
        host.adopt("legacy")
    assert host.adopt().kept is not None
    assert len(host.rules("legacy")) == len(host.rules("nft")) == 1
    host.iptables("nft", "-F")  # so that nothing is left of what was delegated
    got = host.adopt()
    assert got.kept is None
    assert host.drops()
    assert not host.rules("legacy")
    assert firewall.delegated(Family.IPV4) is None


def test_chains_of_others_in_the_table(host: Host, firewall: Firewall) -> None:
    host.iptables("nft", DROP)
    host.namespace.run("nft", "add chain ip filter x { type filter hook input priority 5; }")
    with pytest.raises(ToolError, match="incompatible"):
        host.adopt()
    assert firewall.table(Family.IPV4) is None
    assert host.drops()


def test_nothing_is_there(host: Host, firewall: Firewall) -> None:
    assert host.adopt() == Adopted(Family.IPV4, None)
    assert host.release() == Released(Family.IPV4, None)
    assert "filter" not in host.namespace.run("cat", "/proc/net/ip_tables_names")
    assert not host.namespace.run("nft", "list", "ruleset")


def test_ipv6(host: Host, firewall: Firewall) -> None:
    host.iptables("nft", "-A INPUT -s 2001:db8::/32 -j DROP", command="ip6tables")
    got = host.adopt(family=Family.IPV6)
    assert got.found is not None
    assert not host.rules("nft", "ip6tables")
    assert firewall.generation(Family.IPV4) is None
    assert firewall.generation(Family.IPV6) is not None


def test_a_change_made_meanwhile_is_not_lost(
    host: Host, firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = ["-A INPUT -d 127.0.0.4/32 -j DROP", "-A INPUT -d 127.0.0.5/32 -j DROP"]
    really = home.counted

    def counted_late(tool: KernelTool, family: Family) -> bytes:
        if late:
            host.iptables("nft", late.pop())
        return really(tool, family)

    host.iptables("nft", DROP)
    monkeypatch.setattr(taking, "counted", counted_late)
    host.adopt()
    assert not host.rules("nft")
    assert not reached(host.namespace, "127.0.0.2", "127.0.0.4", "127.0.0.5")
    assert firewall.delegated(Family.IPV4) is None


@BOTH
def test_packets_meanwhile_are_counted(
    host: Host, firewall: Firewall, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Those that pass after the rules were read, and before they are in force as eBPF."""
    host.iptables(kind, "-A INPUT -d 127.0.0.3", DROP, "-A OUTPUT -d 127.0.0.3", "-P OUTPUT DROP")
    host.iptables(kind, "-A OUTPUT -j ACCEPT", "-A INPUT -m conntrack --ctstate NEW")
    send = ["127.0.0.2", "127.0.0.3"] * 3
    reached(host.namespace, *send)
    take_back = Firewall.take_back

    def later(firewall: Firewall, *words: Any) -> Generation:
        reached(host.namespace, *send)
        return take_back(firewall, *words)

    def while_both(tool: KernelTool, family: Family) -> bytes:
        reached(host.namespace, "127.0.0.2", "127.0.0.3")
        return home.counted(tool, family)

    monkeypatch.setattr(Firewall, "take_back", later)
    monkeypatch.setattr(taking, "counted", while_both)
    host.adopt()
    reached(host.namespace, *send)
    found = firewall.table(Family.IPV4)
    assert found is not None
    counts = {
        name: [rule.counters.packets for rule in found.chain(name).rules]
        for name in ("INPUT", "OUTPUT")
    }
    assert counts == {"INPUT": [10, 10, 10], "OUTPUT": [10, 20]}
    if kind == "legacy":  # nf_tables counts no packets by policies
        assert found.chain("INPUT").counters == Counters(10, 290)


def test_changes_without_end(
    host: Host, firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = home.counted

    def counted_late(tool: KernelTool, family: Family) -> bytes:
        host.iptables("nft", "-A INPUT -d 127.0.0.4/32 -j DROP")
        return really(tool, family)

    host.iptables("nft", DROP)
    monkeypatch.setattr(taking, "counted", counted_late)
    with pytest.raises(Error, match="keeps changing"):
        host.adopt()
    assert len(host.rules("nft")) == 1 + taking.TRIES
    assert firewall.table(Family.IPV4) is None
    assert firewall.delegated(Family.IPV4) is None


# The commands


def test_apply_takes_the_place_of_what_was_delegated(
    host: Host, firewall: Firewall, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.iptables("nft", REJECT, "-P FORWARD DROP")
    host.adopt()
    netns = ("--netns", str(host.namespace.path))
    path = tmp_path / "rules.v4"
    path.write_text(f"*filter\n{DROP}\nCOMMIT\n")
    assert main(["clear", *netns]) == 1
    assert "'iptables-nft -F' takes the rules out of force" in capsys.readouterr().err
    assert main(["list", *netns]) == 0
    assert "'iptables-nft -S' lists it" in capsys.readouterr().err
    assert main(["status", *netns]) == 0
    shown = capsys.readouterr().out
    assert "IPv4: rules of iptables-nft in force since" in shown
    assert f"    {REJECT}" in shown
    assert main(["apply", "--confirm", "5", *netns, str(path)]) == 1
    assert "could not be brought back" in capsys.readouterr().err
    assert len(host.rules("nft")) == 1
    assert main(["apply", *netns, str(path)]) == 0
    assert "the filter rules of iptables-nft were replaced" in capsys.readouterr().err
    assert not host.rules("nft")
    assert firewall.delegated(Family.IPV4) is None
    assert host.drops()
    found = firewall.table(Family.IPV4)
    assert found is not None
    assert found.chain("FORWARD").policy == "DROP", "FILE does not declare it"


def test_other_tables_elsewhere_are_said(
    host: Host, firewall: Firewall, capsys: pytest.CaptureFixture[str]
) -> None:
    host.iptables("legacy", "-t nat -A OUTPUT -d 127.0.0.9 -j ACCEPT", DROP)
    netns = ("--netns", str(host.namespace.path))
    assert main(["adopt", *netns]) == 0
    shown = capsys.readouterr()
    assert "IPv4: 1 rule of iptables-legacy enforced as eBPF" in shown.out
    assert "IPv6: the kernel has no filter rules of ip6tables" in shown.out
    assert "rules of iptables in nat are iptables-legacy's" in shown.err
    assert "set 'kernel-tool = legacy' in /etc/bpfilter.conf" in shown.err
    assert main(["release", "-4", "--to", "nft", *netns]) == 0
    assert "IPv4: 1 rule given to iptables-nft" in capsys.readouterr().out


def test_settling_what_nobody_left(host: Host, firewall: Firewall) -> None:
    assert settle(firewall, Family.IPV4) == ""
