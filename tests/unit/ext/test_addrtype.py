"""`-m addrtype` for IPv4 (addrtype_mt_v1)."""

from __future__ import annotations

import pytest

from tests.unit.ext.placed import Place
from tests.unit.ext.support import Outcome

FORWARD = Place("filter", "FORWARD")
UNICAST, LOCAL, BROADCAST = 1 << 1, 1 << 2, 1 << 3


@pytest.mark.parametrize(
    ("words", "values", "matches"),
    [
        ("--src-type LOCAL,BROADCAST", {"src_type": BROADCAST}, True),
        ("--src-type LOCAL,BROADCAST", {"src_type": UNICAST}, False),
        ("! --src-type LOCAL", {"src_type": UNICAST}, True),
        ("! --src-type LOCAL,UNICAST", {"src_type": UNICAST}, False),
        ("--src-type LOCAL --dst-type UNICAST", {"src_type": LOCAL, "dst_type": UNICAST}, True),
        ("--src-type LOCAL --dst-type UNICAST", {"src_type": LOCAL, "dst_type": LOCAL}, False),
        ("--src-type LOCAL ! --dst-type LOCAL", {"src_type": UNICAST, "dst_type": 1}, False),
        ("--src-type LOCAL --limit-iface-in", {"src_type_in": LOCAL}, True),
        ("--src-type LOCAL --limit-iface-in", {"src_type": LOCAL, "src_type_in": 2}, False),
        ("--dst-type LOCAL --limit-iface-in", {"dst_type_in": LOCAL}, True),
        ("--src-type LOCAL --limit-iface-out", {"src_type_out": LOCAL}, True),
        ("! --dst-type LOCAL --limit-iface-out", {"dst_type_out": LOCAL}, False),
    ],
)
def test_predicate(words: str, values: dict[str, int], matches: bool) -> None:
    decided = FORWARD.decide(f"-m addrtype {words}", values)
    assert decided is (Outcome.MATCH if matches else Outcome.MISS)
