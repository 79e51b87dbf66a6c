"""Rules of a large table changed in place, by the compiler's own editor, with real packets."""

from __future__ import annotations

import pytest

from bpfilter import Family, Firewall, RefusedError
from bpfilter.firewall import conntrack
from bpfilter.kernel.linux import LinuxKernel
from tests.e2e.test_apply import reached, table
from tests.e2e.test_large import ADDRESSES, drop, saved
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

MANY = [drop(address) for address in ADDRESSES]
A, B, C, D = (f"127.99.0.{number}" for number in range(4))


class InForce:
    """Lines in force, and whether they came there in place."""

    def __init__(self, firewall: Firewall, namespace: Namespace, *lines: str) -> None:
        self.firewall = firewall
        self.namespace = namespace
        self.lines = list(lines)
        self.lineage = self._apply()

    def change(self, *lines: str) -> bool:
        self.lines = list(lines)
        before, self.lineage = self.lineage, self._apply()
        return before == self.lineage

    def insert(self, line: str, before: str) -> bool:
        at = self.lines.index(before)
        return self.change(*self.lines[:at], line, *self.lines[at:])

    def remove(self, line: str) -> bool:
        at = self.lines.index(line)
        return self.change(*self.lines[:at], *self.lines[at + 1 :])

    def _apply(self) -> str:
        return self.firewall.apply_text(saved(*self.lines), Family.IPV4).lineage

    def dropped(self, *addresses: str) -> set[str]:
        return set(addresses) - reached(self.namespace, *addresses)

    def counts(self, chain: str) -> list[int]:
        rules = table(self.firewall).chain(chain).rules
        return [rule.counters.packets for rule in rules]


def test_small_chains_and_what_leads_to_them(firewall: Firewall, namespace: Namespace) -> None:
    to_a, last = f"-A INPUT -d {A}/32 -j a", "-A b -p udp"
    force = InForce(firewall, namespace, *MANY, to_a, drop(A, "a"), "-A a -j b", last)
    assert force.dropped(A, B) == {A}
    assert force.insert(drop(B, "b"), last)
    assert force.dropped(A, B) == {A}
    assert force.insert(f"-A INPUT -d {B}/32 -p udp -g a", MANY[40])
    assert force.dropped(A, B, C) == {A, B}
    assert force.insert("-A OUTPUT -d 127.99.0.0/16 -p udp -j DROP", to_a) is False, "not read"
    assert force.dropped(A, B, C) == {A, B, C}
    assert force.remove("-A OUTPUT -d 127.99.0.0/16 -p udp -j DROP")
    assert force.insert("-A a -j RETURN", drop(A, "a"))
    assert force.dropped(A, B, C) == set()
    assert force.counts("a") == [2, 3, 1]
    assert force.remove("-A a -j RETURN")
    assert force.dropped(A, B, C) == {A, B}
    assert force.counts("a") == [4, 2]
    assert force.counts("b") == [2, 0]
    assert force.remove(f"-A INPUT -d {B}/32 -p udp -g a")
    assert force.dropped(A, B, C) == {A}
    assert force.remove(to_a)
    assert force.dropped(A, B, C) == set()
    assert not force.insert("-A b -d 127.99.0.1/32 -j a", last), "a loop where no hook leads"


def test_the_last_rule_of_a_chain(firewall: Firewall, namespace: Namespace) -> None:
    """Where RETURN finds the policy, behind what was written last."""
    lines = [*MANY, "-A FORWARD -s 192.0.2.1/32", f"-A OUTPUT -d {A}/32 -j RETURN"]
    force = InForce(firewall, namespace, *lines)
    assert force.change(*lines, f"-A OUTPUT -d {A}/31 -j DROP")
    assert force.dropped(A, B) == {B}
    assert force.counts("OUTPUT") == [1, 1]
    assert table(firewall).chain("OUTPUT").counters.packets == 1


def test_equal_rules(firewall: Firewall, namespace: Namespace) -> None:
    """Of several the first keeps the first one's counter."""
    counts = f"-A b -d {A}/32"
    last = drop(A, "b")
    force = InForce(firewall, namespace, *MANY, "-A INPUT -j b", last)
    for number in range(3):
        assert force.insert(counts, last)
        assert force.dropped(A) == {A}
        assert force.counts("b") == [*range(number + 1, 0, -1), number + 1]
    at = force.lines.index(counts)
    assert force.change(*force.lines[:at], *force.lines[at + 2 :])
    assert force.counts("b") == [3, 3]
    assert force.change(*force.lines[:at], counts, *force.lines[at:])
    assert force.dropped(A) == {A}
    assert force.counts("b") == [4, 1, 4]
    assert force.insert(MANY[7], MANY[3]), "where there is an index"
    assert force.remove(MANY[7])


def test_connections_and_users(
    firewall: Firewall, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    invalid = "-A OUTPUT -m conntrack --ctstate INVALID -j DROP"
    new = f"-A OUTPUT -d {A}/32 -m conntrack --ctstate NEW -j DROP"
    nobody = "-A OUTPUT -m owner --uid-owner 65534 -j DROP"
    root = f"-A OUTPUT -d {B}/32 -m owner --uid-owner 0 -j DROP"
    force = InForce(firewall, namespace, *MANY, invalid, nobody)

    def is_on() -> bool:
        with namespace.entered():
            return conntrack.is_on(LinuxKernel(), Family.IPV4)

    assert is_on()
    assert force.insert(f"-A OUTPUT -d {A}/32", nobody) is False, "not read"
    assert force.insert(new, nobody)
    assert force.insert(root, new)
    assert force.dropped(A, B, C) == {A, B}
    assert force.remove(invalid)
    assert force.remove(root)
    assert force.dropped(A, B, C) == {A}
    assert is_on()
    assert not force.remove(new), "no longer tracked"
    assert not is_on()
    assert not force.insert(new, nobody), "tracked again"
    assert is_on()
    assert force.dropped(A, B, C) == {A}
    monkeypatch.setattr(LinuxKernel, "owns_netns", lambda _: False)
    with pytest.raises(RefusedError, match="another user namespace"):
        force.insert(root, new)
    assert force.dropped(A, B, C) == {A}
