"""The rule families of the benchmark: deterministic, well-formed, with packets that fit."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Address, IPv4Network

import numpy as np
import pytest

from bench import families
from bench.families import classbench, seeds
from bench.families.model import TRACE, is_unicast, packets_in
from bpfilter import Family, parse_saved
from bpfilter.rules.saved import format_saved

SIZES = (1, 10, 1000)


@pytest.mark.parametrize("name", families.NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_text_is_as_iptables_save_writes_it(name: str, size: int) -> None:
    family = families.make(name, size)
    ruleset = parse_saved(family.text, name, Family.IPV4)
    written = format_saved(ruleset, counters=False).splitlines()
    assert [line for line in written if line[0] != "#"] == family.text.splitlines()
    assert sum(1 for _ in ruleset.rules()) == family.rules


@pytest.mark.parametrize("name", families.NAMES)
def test_as_many_rules_as_asked_for(name: str) -> None:
    assert families.make(name, 10).rules == 10
    assert families.make(name, 777).rules == 777


@pytest.mark.parametrize("name", families.NAMES)
def test_the_same_seed_gives_the_same(name: str) -> None:
    one, same, other = (families.make(name, 500, seed) for seed in (7, 7, 8))
    assert one.text == same.text
    assert one.text != other.text
    assert np.array_equal(one.packets, same.packets)
    assert np.array_equal(one.worst, same.worst)
    assert not np.array_equal(one.packets, other.packets)


@pytest.mark.parametrize("name", families.NAMES)
def test_packets_are_forwarded_ones(name: str) -> None:
    family = families.make(name, 1000)
    assert len(family.packets) == TRACE
    for packets in (family.packets, family.worst):
        assert is_unicast(packets["saddr"]).all()
        assert is_unicast(packets["daddr"]).all()


@pytest.mark.parametrize("name", families.NAMES)
def test_all_drop_if_asked(name: str) -> None:
    family = families.make(name, 1000, verdicts=families.Verdicts.DROP)
    assert "ACCEPT" not in family.text.split("\n-A", 1)[1]
    assert "ACCEPT" in families.make(name, 1000).text.split("\n-A", 1)[1]


@pytest.mark.parametrize("name", ["hosts", "acl", "firewall", "ipc"])
def test_packets_lie_in_their_rules_and_are_spread_evenly(name: str) -> None:
    family = families.make(name, 1000)
    rules = re.findall("^-A.*$", family.text, re.MULTILINE)
    for packet in family.packets[:500]:
        assert matches(rules[packet["rule"]], packet)
    drawn = len(rules) if name == "hosts" else len(rules) - 1
    counts = Counter(family.packets["rule"].tolist())
    assert set(counts) == set(range(drawn))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", ["hosts", "acl", "firewall", "ipc"])
def test_worst_packets_match_the_last_rule_alone(name: str) -> None:
    family = families.make(name, 1000)
    rules = re.findall("^-A.*$", family.text, re.MULTILINE)
    for packet in family.worst[:8]:
        assert [n for n, rule in enumerate(rules) if matches(rule, packet)] == [999]


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("name", ["kube", "firewalld"])
def test_packets_of_chains_end_at_rules(name: str, size: int) -> None:
    family = families.make(name, size, verdicts=families.Verdicts.DROP)
    chains: dict[str, list[str]] = {}
    for line in re.findall("^-A.*$", family.text, re.MULTILINE):
        chains.setdefault(line.split()[1], []).append(line)
    ends = Counter(walk(chains, packet) for packet in family.packets[:500])
    assert len(ends) > min(size // 10, 200)
    assert len({walk(chains, packet) for packet in family.worst}) == 1
    assert walk(chains, family.worst[0]).endswith("-j DROP")


def test_an_acl_overlaps() -> None:
    rng = np.random.default_rng(1)
    for kind in (seeds.ACL, seeds.FIREWALL, seeds.IPC):
        boxes = classbench.draw(kind, 5000, rng)
        assert len(boxes) == 5000
        lengths = boxes.source_length * 64 + boxes.target_length
        assert len(np.unique(lengths)) > 50
        rows = rng.integers(5000, size=300)
        matching = [boxes.matching(packet) for packet in packets_in(boxes, rows, rng)]
        assert all(row in found for row, found in zip(rows, matching, strict=True))
        assert sum(len(found) > 1 for found in matching) > 30
        assert sum(found[0] == row for row, found in zip(rows, matching, strict=True)) > 240


def walk(chains: dict[str, list[str]], packet: np.void) -> str:
    """Give the rule that has the say."""
    returns = [iter(chains["FORWARD"])]
    while returns:
        rule = next(returns[-1], None)
        if rule is None:
            returns.pop()
        elif matches(rule, packet) and rule.split()[-2] in ("-j", "-g"):
            option, target = rule.split()[-2:]
            if target in ("DROP", "ACCEPT"):
                return rule
            if option == "-g":
                returns.pop()
            returns.append(iter(chains.get(target, ())))
    return "policy"


def matches(rule: str, packet: np.void) -> bool:
    """Judge a rule as the families write them."""
    words = rule.split()
    options = dict(zip(words[2::2], words[3::2], strict=True))
    for option, field in (("-s", "saddr"), ("-d", "daddr")):
        if option in options:
            network = IPv4Network(options[option])
            if IPv4Address(int(packet[field])) not in network:
                return False
    numbers = {"tcp": 6, "udp": 17, "icmp": 1, "esp": 50}
    if "-p" in options:
        protocol = options["-p"]
        if (int(protocol) if protocol.isdecimal() else numbers[protocol]) != packet["proto"]:
            return False
    if "-i" in options and options["-i"] != "eth0":
        return False
    for option, field in (("--sport", "sport"), ("--dport", "dport")):
        low, _, high = options.get(option, "0:65535").partition(":")
        if not int(low) <= packet[field] <= int(high or low):
            return False
    return True
