"""What becomes of rules on the way to cells."""

from __future__ import annotations

import pytest

from bpfilter import Family, parse_saved
from bpfilter.compiler.lower import lower_table


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-p icmp -m icmp --icmp-type 3/1:4", "code range 1:4"),
    ],
)
def test_rules_that_iptables_save_would_widen_are_refused(rule: str, named: str) -> None:
    text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    table = parse_saved(f"{text}-A INPUT {rule} -j DROP\nCOMMIT\n", "t", Family.IPV4).table(
        "filter"
    )
    assert table is not None
    (refused,) = lower_table(table, Family.IPV4).refused
    assert named in str(refused)
    assert "iptables-save" in str(refused)
    assert str(refused).startswith("t:5:")
