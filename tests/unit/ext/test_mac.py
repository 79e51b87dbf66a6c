"""`-m mac` (mac_mt)."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import Outcome, Values, decide

SAME: Values = {"mac_ok": 1, "mac": (0x00112233, 0x44550000)}
OTHERS = [(0x01112233, 0x44550000), (0x00112232, 0x44550000), (0x00112233, 0x44540000)]


@pytest.mark.parametrize("mac", OTHERS)
def test_every_byte_counts(mac: tuple[int, int]) -> None:
    assert decide("-m mac --mac-source 00:11:22:33:44:55", SAME) is Outcome.MATCH
    other: Values = {"mac_ok": 1, "mac": mac}
    assert decide("-m mac --mac-source 00:11:22:33:44:55", other) is Outcome.MISS
    assert decide("-m mac ! --mac-source 00:11:22:33:44:55", other) is Outcome.MATCH


def test_without_ethernet_header_nothing_matches() -> None:
    absent: Values = {**SAME, "mac_ok": 0}
    assert decide("-m mac --mac-source 00:11:22:33:44:55", absent) is Outcome.MISS
    assert decide("-m mac ! --mac-source 00:00:00:00:00:01", absent) is Outcome.MISS
