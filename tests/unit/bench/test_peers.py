"""What peers are given, and how what they have counted is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import families
from bench.commands import Commands
from bench.peers import PROBE, IptablesPeer, NotMeasured, nft_map, parse_counts, with_one_changed

COMMANDS = Commands(Path("bin"), {})


@pytest.mark.parametrize("name", families.NAMES)
def test_a_change_is_one_line(name: str) -> None:
    before = families.make(name, 500).text
    after = with_one_changed(before)
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    ((old, new),) = changed
    assert old.endswith("-j DROP")
    assert new == " ".join((*old.split()[:2], PROBE))


def test_the_nft_map_has_every_rule() -> None:
    family = families.make("hosts", 300)
    text = nft_map(family.text)
    assert text.count(" : drop") + text.count(" : accept") == 300
    assert text.count(" : drop") == family.text.count("-j DROP")


def test_counts_are_read_with_their_targets() -> None:
    saved = """\
*filter
:FORWARD ACCEPT [7:70]
[3:30] -A FORWARD -s 10.0.0.1/32 -j DROP
[0:0] -A FORWARD -g zone
[12:120] -A zone -m comment --comment "a -j b" -j ACCEPT
[1:10] -A zone -p udp
COMMIT
"""
    assert parse_counts(saved) == [(3, "DROP"), (0, "zone"), (12, "ACCEPT"), (1, "")]


def test_who_walks_is_not_asked_to_walk_too_many() -> None:
    peer = IptablesPeer(COMMANDS, "iptables-legacy", 100)
    peer.takes(families.make("hosts", 100))
    with pytest.raises(NotMeasured, match="walks 101 rules"):
        peer.takes(families.make("hosts", 101))
