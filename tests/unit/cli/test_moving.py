"""Commands around iptables: what they say of tables that are the kernel's, and their places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfilter import Family
from bpfilter.cli.places import places
from bpfilter.cli.usage import UsageError
from bpfilter.firewall.delegated import Delegated
from tests.unit.cli.conftest import FakeFirewall
from tests.unit.cli.test_commands import Run

REJECT = Delegated("nft", "-A INPUT -j REJECT", "target 'REJECT' cannot be enforced", 1.7e9)
V4, V6 = Family.IPV4, Family.IPV6


@pytest.fixture
def delegated(firewall: FakeFirewall) -> FakeFirewall:
    firewall.kernels[V6] = REJECT
    return firewall


def test_status_names_tool_and_rule(run: Run, delegated: FakeFirewall) -> None:
    shown = run("status")
    assert shown.status == 0
    assert "IPv4: no rules in force\nIPv6: rules of ip6tables-nft in force since 2023" in shown.out
    assert "target 'REJECT' cannot be enforced\n    -A INPUT -j REJECT\n" in shown.out


def test_status_for_programs(
    run: Run, delegated: FakeFirewall, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conf = tmp_path / "bpfilter.conf"
    monkeypatch.setenv("BPFILTER_CONF", str(conf))
    conf.write_text("kernel-tool = legacy\n")
    data = json.loads(run("status", "--json").out)
    assert data["kernel_tool"] == "legacy"
    assert [family["delegated"] for family in data["families"]] == [
        None,
        {
            "tool": "nft",
            "rule": "-A INPUT -j REJECT",
            "reason": "target 'REJECT' cannot be enforced",
            "since": 1.7e9,
        },
    ]
    conf.write_text("kernel-tool = none\n")
    assert json.loads(run("status", "--json").out)["kernel_tool"] is None
    assert "other tables" not in run("status").out
    conf.write_text("kernel-tool = nftables\n")
    shown = run("status")
    assert shown.status == 1
    assert f"{conf}:1: kernel-tool cannot be `nftables'" in shown.err


@pytest.mark.parametrize(
    ("command", "status", "instead"),
    [
        ("clear", 1, "'ip6tables-nft -F' takes the rules out of force there"),
        ("zero", 0, "'ip6tables-nft -Z' zeroes its counters"),
        ("list", 0, "'ip6tables-nft -S' lists it"),
    ],
)
def test_what_does_it_instead(
    run: Run, delegated: FakeFirewall, command: str, status: int, instead: str
) -> None:
    shown = run(command)
    assert shown.status == status
    assert shown.err == (
        "bpfilter: the filter table of IPv6 is ip6tables-nft's, because target 'REJECT' cannot "
        f"be enforced; {instead}\n"
    )
    assert run(command, "-4").status == 0


def test_places(tmp_path: Path) -> None:
    assert places([], None) == {
        V4: Path("/etc/bpfilter/rules.v4"),
        V6: Path("/etc/bpfilter/rules.v6"),
    }
    assert places([], V6) == {V6: Path("/etc/bpfilter/rules.v6")}
    assert places([str(tmp_path)], V4) == {V4: tmp_path / "rules.v4"}
    assert places(["new/"], V4) == {V4: Path("new/rules.v4")}
    assert places(["a.v6", "b.v4"], None) == {V6: Path("a.v6"), V4: Path("b.v4")}
    assert places(["anything"], V6) == {V6: Path("anything")}
    for words in (["anything"], ["a.v4", "b.v4"]):
        with pytest.raises(UsageError):
            places(words, None)


@pytest.mark.parametrize("command", ["save", "restore"])
def test_a_family_that_cannot_be_told(run: Run, firewall: FakeFirewall, command: str) -> None:
    shown = run(command, "rules")
    assert shown.status == 2
    assert shown.err == (
        "bpfilter: rules: is it IPv4 or IPv6? End its name in .v4 or .v6, or give -4 or -6\n"
    )
