"""Namespaces that have ended for everybody but the rules in force in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bpfilter import Family, Firewall
from bpfilter.firewall.store import Store, open_store
from tests.e2e.test_apply import reached, rules
from tests.harness.netns import Namespace
from tests.harness.waiting import wait_until
from tests.harness.world import COMMANDS

pytestmark = pytest.mark.e2e

RULES = rules(
    "-A INPUT -d 127.0.0.2/32 -j DROP", "-A INPUT -m conntrack --ctstate INVALID -j DROP"
)


def store_in(firewall: Firewall, namespace: Namespace) -> Store:
    with firewall.kernel.in_netns(str(namespace.path)):
        return open_store(firewall.kernel)


def test_a_namespace_that_nothing_refers_to_is_let_go() -> None:
    here, far = Namespace("gone"), Namespace("peer")
    with far:
        here.ip(f"link add v0 type veth peer name v1 netns {far.name}")
        firewall = Firewall(str(here.path))
        for family in Family:
            firewall.apply(rules("-A INPUT -j DROP", family=family))
        store = store_in(firewall, here)
        inode = store.pins.name
        with open(here.path):
            here.close()
            assert inode not in Firewall().status().stale
        assert inode in Firewall().status().stale
        said = subprocess.run(
            [str(COMMANDS / "bpfilter"), "status"], capture_output=True, text=True, check=False
        ).stdout
        assert inode in said
        assert "bpfilter clear --stale" in said
        assert "v1" in far.run("ip", "link"), "the other end is kept as well"
        command = [str(COMMANDS / "bpfilter"), "clear", "--stale"]
        cleared = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert f"took down the rules of network namespace {inode}\n" in cleared
        assert not store.pins.exists()
        assert not store.files.exists()
        wait_until(lambda: "v1" not in far.run("ip", "link"), "the namespace gone", seconds=10)


def test_rules_in_use_are_not_stale(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply(RULES)
    firewall.clear_stale()
    assert not reached(namespace, "127.0.0.2")
    assert store_in(firewall, namespace).pins.name not in firewall.status().stale


def test_clear_leaves_nothing(firewall: Firewall, namespace: Namespace) -> None:
    store = store_in(firewall, namespace)
    firewall.apply(RULES)
    firewall.apply(rules(family=Family.IPV6))
    assert store.pins.exists()
    assert store.files.exists()
    firewall.clear(Family.IPV4)
    assert store.pins.exists()
    firewall.clear(Family.IPV6)
    assert not store.pins.exists()
    assert not store.files.exists()
    assert not Path(f"{store.files}.new").exists()
    assert "bpfilter" not in namespace.run("nft", "list", "tables")
