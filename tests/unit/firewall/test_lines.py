"""The text that is kept of a ruleset: written, taken apart, and read back to the same."""

from __future__ import annotations

import pytest

from bpfilter import Family, parse_saved
from bpfilter.errors import StateError
from bpfilter.firewall.lines import Lines
from bpfilter.rules.model import Table

HEAD = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"


def table(text: str | bytes, family: Family = Family.IPV4) -> Table:
    found = parse_saved(text, "test", family).table("filter")
    assert found is not None
    return found


def test_head_and_body() -> None:
    text = (
        "*filter\n:own - [0:0]\n:INPUT DROP [7:8]\n"
        "[1:2] -A own -s 1.1.1.1\n[3:4] -A INPUT\nCOMMIT\n"
    )
    lines = Lines.of_table(table(text), Family.IPV4)
    assert lines.head.decode() == HEAD
    assert lines.rules() == [b"-A INPUT", b"-A own -s 1.1.1.1/32"]
    assert lines.chains() == ["INPUT", "FORWARD", "OUTPUT", "own"]
    assert [lines.has_chain(name) for name in ("INPUT", "own", "ow")] == [True, True, False]
    assert not any(map(lines.has_chain, ("own -", "INPUT DROP", "", "own\n:INPUT")))
    assert Lines.of_text(lines.text) == lines
    assert table(lines.text) == table(text)
    counted = lines.with_counters([7, 8, 9, 10, 0, 0], [3, 4, 1, 2])
    assert counted.decode() == (
        HEAD.replace("DROP [0:0]", "DROP [7:8]").replace(
            "FORWARD ACCEPT [0:0]", "FORWARD ACCEPT [9:10]"
        )
        + "[3:4] -A INPUT\n[1:2] -A own -s 1.1.1.1/32\nCOMMIT\n"
    )


def test_no_rules() -> None:
    lines = Lines.of_table(table("*filter\nCOMMIT\n"), Family.IPV4)
    assert bytes(lines.body) == b""
    assert lines.rules() == []
    assert Lines.of_text(lines.text) == lines


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    text = b'*filter\n:caf\xe9 - [0:0]\n-A INPUT -m comment --comment "\xff" -j caf\xe9\nCOMMIT\n'
    lines = Lines.of_table(table(text), Family.IPV4)
    assert b'--comment "\xff" -j caf\xe9' in bytes(lines.body)
    assert lines.chains()[-1] == "caf\udce9"
    assert table(lines.text) == table(text)


def test_what_iptables_save_loses_is_kept() -> None:
    """IPv6 `-p all` looks for a protocol, and drops packets in which none can be found."""
    rules = table("*filter\n-A INPUT -p all -j DROP\n-A INPUT -j DROP\nCOMMIT\n", Family.IPV6)
    assert [rule.any_protocol for rule in rules.chain("INPUT").rules] == [True, False]
    lines = Lines.of_table(rules, Family.IPV6)
    again = table(lines.text, Family.IPV6)
    assert [rule.any_protocol for rule in again.chain("INPUT").rules] == [True, False]


@pytest.mark.parametrize("text", [b"", b"*filter\n", b"*nat\nCOMMIT\n", b"*filter\n-A INPUT\n"])
def test_anything_else_is_no_kept_text(text: bytes) -> None:
    with pytest.raises(StateError):
        Lines.of_text(text)
