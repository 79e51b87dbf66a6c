"""Families of rules to measure with, and the packets that go with them.

    hosts      distinct hosts and ports, the blocklist
    acl        ClassBench-like: a router's access list
    firewall   ClassBench-like: a firewall's rules, many with one side wild
    ipc        ClassBench-like: the mix of both that Linux' IP chains had
    kube       one long services chain, a small chain behind each rule
    firewalld  zones by source and interface, sub-chains in each

The same name, number and seed give the same text and the same packets.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.families import classbench, firewalld, hosts, kube
from bench.families.model import PACKET, Family, Packets, Verdicts

__all__ = ["NAMES", "PACKET", "Family", "Packets", "Verdicts", "make"]

_MAKERS: dict[str, Callable[[int, int, Verdicts], Family]] = {
    "hosts": hosts.make,
    "acl": classbench.make_acl,
    "firewall": classbench.make_firewall,
    "ipc": classbench.make_ipc,
    "kube": kube.make,
    "firewalld": firewalld.make,
}
NAMES = tuple(_MAKERS)


def make(name: str, rules: int, seed: int = 1, verdicts: Verdicts = Verdicts.MIXED) -> Family:
    """Make a family of about `rules` rules (`Family.rules` is how many it came to).

    Raises: KeyError for a name not in NAMES, ValueError for less than one rule.
    """
    if rules < 1:
        raise ValueError(f"a family of {rules} rules")
    return _MAKERS[name](rules, seed, verdicts)
