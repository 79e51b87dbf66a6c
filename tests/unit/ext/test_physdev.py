"""`-m physdev` (physdev_mt)."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import Outcome, Values, decide


def name(text: str) -> tuple[int, ...]:
    raw = text.encode().ljust(16, b"\0")
    return tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(0, 16, 4))


UNBRIDGED: Values = {}
BRIDGED_IN: Values = {"phys_bridged": 1, "phys_in_set": 1, "phys_in": name("eth0")}
BRIDGED_THROUGH: Values = {**BRIDGED_IN, "phys_out_set": 1, "phys_out": name("eth10")}
BRIDGED_OUT: Values = {"phys_bridged": 1, "phys_out_set": 1, "phys_out": name("eth10")}


@pytest.mark.parametrize(
    ("words", "values", "matches"),
    [
        ("--physdev-in eth0", BRIDGED_IN, True),
        ("--physdev-in eth", BRIDGED_IN, False),
        ("--physdev-in eth+", BRIDGED_IN, True),
        ("--physdev-in +", BRIDGED_IN, True),
        ("! --physdev-in eth0", BRIDGED_IN, False),
        ("! --physdev-in eth1", BRIDGED_IN, True),
        # An input port that is not known passes, an output port that is not known fails.
        ("--physdev-in eth1", BRIDGED_OUT, True),
        ("! --physdev-in eth1", BRIDGED_OUT, True),
        ("--physdev-out eth10", BRIDGED_IN, False),
        ("! --physdev-out eth10", BRIDGED_IN, False),
        ("--physdev-out eth1", BRIDGED_THROUGH, False),
        ("--physdev-out eth1+", BRIDGED_THROUGH, True),
        ("! --physdev-out eth1", BRIDGED_THROUGH, True),
        ("--physdev-in eth0 --physdev-out eth10", BRIDGED_THROUGH, True),
        ("--physdev-in eth1 --physdev-out eth10", BRIDGED_THROUGH, False),
        ("--physdev-is-in", BRIDGED_IN, True),
        ("--physdev-is-in", BRIDGED_OUT, False),
        ("! --physdev-is-in", BRIDGED_OUT, True),
        ("--physdev-is-out", BRIDGED_IN, False),
        ("--physdev-is-out", BRIDGED_OUT, True),
        ("--physdev-is-bridged", BRIDGED_IN, False),
        ("--physdev-is-bridged", BRIDGED_THROUGH, True),
        ("! --physdev-is-bridged", BRIDGED_IN, True),
        # A packet of no bridge matches if all is asked inverted.
        ("--physdev-in +", UNBRIDGED, False),
        ("! --physdev-in eth0", UNBRIDGED, True),
        ("! --physdev-in eth0 --physdev-is-out", UNBRIDGED, False),
        ("! --physdev-is-in ! --physdev-is-out ! --physdev-is-bridged", UNBRIDGED, True),
        ("! --physdev-is-in --physdev-is-bridged", UNBRIDGED, False),
        ("! --physdev-is-in --physdev-out eth0", UNBRIDGED, False),
    ],
)
def test_predicate(words: str, values: Values, matches: bool) -> None:
    decided = decide(f"-m physdev {words}", values)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)
