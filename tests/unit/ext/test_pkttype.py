"""`-m pkttype` (pkttype_mt)."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import Outcome, decide


@pytest.mark.parametrize(
    ("name", "value"), [("unicast", 0), ("broadcast", 1), ("multicast", 2), ("otherhost", 3)]
)
def test_predicate(name: str, value: int) -> None:
    for kind in range(5):
        matches = decide(f"-m pkttype --pkt-type {name}", {"pkttype": kind})
        inverted = decide(f"-m pkttype ! --pkt-type {name}", {"pkttype": kind})
        assert (matches is Outcome.MATCH) is (kind == value)
        assert (inverted is Outcome.MATCH) is (kind != value)
