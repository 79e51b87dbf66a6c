"""Rulesets put in force on real packets: verdicts, counters carried over, nothing left behind."""

from __future__ import annotations

import socket
import subprocess

import pytest

from bpfilter import Counters, Family, Firewall, RefusedError, RuleError, format_saved, parse_saved
from bpfilter.rules.model import Ruleset, Table
from tests.harness.leaks import no_leaked_descriptors
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e


def rules(*lines: str, policy: str = "ACCEPT", family: Family = Family.IPV4) -> Ruleset:
    chains = f":INPUT {policy} [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    return parse_saved(f"*filter\n{chains}" + "\n".join((*lines, "COMMIT\n")), "test", family)


def pinged(namespace: Namespace, address: str = "127.0.0.1") -> bool:
    command = "ping", "-c", "1", "-W", "0.3", address
    with namespace.entered():
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def reached(namespace: Namespace, *addresses: str) -> set[str]:
    """Tell which of the addresses a datagram reaches, over loopback, where delivery is at once."""
    found = set()
    with namespace.entered():
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener, sender:
        listener.bind(("0.0.0.0", 0))
        listener.settimeout(0)
        for address in addresses:
            try:
                sender.sendto(b"x", (address, listener.getsockname()[1]))
                listener.recv(16)
                found.add(address)
            except (PermissionError, BlockingIOError):
                continue
    return found


def table(firewall: Firewall, family: Family = Family.IPV4) -> Table:
    found = firewall.table(family)
    assert found is not None
    return found


@pytest.mark.parametrize(("family", "address"), [(Family.IPV4, "127.0.0.1"), (Family.IPV6, "::1")])
def test_drop_and_accept(
    firewall: Firewall, namespace: Namespace, family: Family, address: str
) -> None:
    icmp = "icmp" if family is Family.IPV4 else "ipv6-icmp"
    assert pinged(namespace, address)
    with no_leaked_descriptors():
        firewall.apply(rules(f"-A INPUT -p {icmp} -j DROP", family=family))
    assert not pinged(namespace, address)
    assert table(firewall, family).chain("INPUT").rules[0].counters.packets == 1
    firewall.apply(rules(f"-A INPUT -p {icmp} -j ACCEPT", policy="DROP", family=family))
    assert pinged(namespace, address)
    assert firewall.clear(family)
    assert pinged(namespace, address)
    assert firewall.table(family) is None
    assert not firewall.clear(family)


def test_counters_of_rules_that_stay_survive(firewall: Firewall, namespace: Namespace) -> None:
    keep = "-A INPUT -p icmp -j ACCEPT"
    firewall.apply(rules(keep))
    assert pinged(namespace)
    before = table(firewall).chain("INPUT").rules[0].counters
    assert before == Counters(2, 168)
    firewall.apply(rules("-A INPUT -s 192.0.2.1 -j DROP", keep))
    after = table(firewall).chain("INPUT")
    assert after.rules[0].counters == Counters(0, 0)
    assert after.rules[1].counters == before
    assert table(firewall).chain("OUTPUT").counters == Counters(2, 168)
    firewall.zero(Family.IPV4)
    assert table(firewall).chain("INPUT").rules[1].counters == Counters(0, 0)
    assert pinged(namespace)
    assert table(firewall).chain("INPUT").rules[1].counters == before


def test_counters_of_the_file_are_taken_when_asked(firewall: Firewall) -> None:
    text = "*filter\n:INPUT DROP [7:700]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    text += "[3:300] -A INPUT -s 192.0.2.1/32 -j DROP\nCOMMIT\n"
    ruleset = parse_saved(text, "test", Family.IPV4)
    firewall.apply(ruleset, counters=True)
    assert format_saved(Ruleset(Family.IPV4, (table(firewall),)), counters=True) == text


def test_a_refused_rule_changes_nothing(firewall: Firewall, namespace: Namespace) -> None:
    firewall.apply(rules("-A INPUT -p icmp -j DROP"))
    with pytest.raises(RefusedError, match=r"test:6:.*REJECT"):
        firewall.apply(rules("-A INPUT -p icmp -j ACCEPT", "-A INPUT -j REJECT"))
    assert not pinged(namespace)
    with pytest.raises(RuleError, match="loop"):
        firewall.apply(parse_saved(LOOP, "test", Family.IPV4))
    assert not pinged(namespace)


LOOP = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:a - [0:0]
:b - [0:0]
-A INPUT -j a
-A a -j b
-A b -j a
COMMIT
"""


def test_chains_nested_deeper_than_the_stack(firewall: Firewall, namespace: Namespace) -> None:
    depth = 40
    lines = [f":c{n} - [0:0]" for n in range(depth)]
    lines.append("-A INPUT -p icmp -j c0")
    for n in range(depth - 1):
        # Two ways down, and a rule behind them that only a right return reaches.
        lines.append(f"-A c{n} -s 192.0.2.1/32 -g c{n + 1}")
        lines.append(f"-A c{n} -j c{n + 1}")
        lines.append(f"-A c{n}")
    lines.append(f"-A c{depth - 1} -j RETURN")
    lines.append("-A INPUT -p icmp -j DROP")
    firewall.apply(rules(*lines))
    assert not pinged(namespace)
    result = table(firewall)
    assert result.chain("INPUT").rules[1].counters.packets == 1
    for n in range(depth - 1):
        counted = [rule.counters.packets for rule in result.chain(f"c{n}").rules]
        assert counted == [0, 1, 1], f"c{n}"


def test_ten_thousand_rules_load(firewall: Firewall, namespace: Namespace) -> None:
    lines = [f"-A INPUT -s 10.{n >> 8}.{n & 255}.1/32 -j DROP" for n in range(10_000)]
    firewall.apply(rules(*lines, "-A INPUT -p icmp -j DROP"))
    assert not pinged(namespace)
    counted = [rule.counters.packets for rule in table(firewall).chain("INPUT").rules]
    assert counted == [0] * 10_000 + [1]
