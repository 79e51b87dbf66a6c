"""Extensions in chains of the user's: where they are reached from decides, as in the kernel."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError
from bpfilter.rules.saved import parse_saved
from tests.unit.ext.support import V4

MAC = "-m mac --mac-source 00:11:22:33:44:55"

#: Name, table and rules; whether the kernel takes them.
RULESETS: list[tuple[str, str, str, bool]] = [
    ("not reached", "filter", f"-A a {MAC}", True),
    ("from an allowed chain", "filter", f"-A INPUT -j a\n-A a {MAC}", True),
    ("from another", "filter", f"-A OUTPUT -j a\n-A a {MAC}", False),
    ("from both", "filter", f"-A INPUT -j a\n-A OUTPUT -p tcp -g a\n-A a {MAC}", False),
    ("two jumps away", "filter", f"-A OUTPUT -j a\n-A a -j b\n-A b {MAC}", False),
    ("behind all verdicts", "filter", f"-A OUTPUT -j a\n-A a -j ACCEPT\n-A a {MAC}", True),
    ("behind some verdicts", "filter", f"-A OUTPUT -j a\n-A a -p tcp -j DROP\n-A a {MAC}", False),
    ("jump behind all verdicts", "filter", f"-A OUTPUT -j DROP\n-A OUTPUT -j a\n-A a {MAC}", True),
    ("owner", "filter", "-A INPUT -j a\n-A a -m owner --uid-owner 0", False),
    ("owner allowed", "filter", "-A OUTPUT -j a\n-A a -m owner --uid-owner 0", True),
    (
        "limited to the input",
        "filter",
        "-A OUTPUT -j a\n-A a -m addrtype --src-type LOCAL --limit-iface-in",
        False,
    ),
    (
        "limited to the output",
        "filter",
        "-A FORWARD -j a\n-A OUTPUT -j a\n-A a -m addrtype --src-type LOCAL --limit-iface-out",
        True,
    ),
    ("not limited", "filter", "-A OUTPUT -j a\n-A a -m addrtype --src-type LOCAL", True),
    ("output port", "filter", "-A OUTPUT -j a\n-A a -m physdev --physdev-out x", False),
    (
        "output port of a bridge",
        "filter",
        "-A OUTPUT -j a\n-A a -m physdev --physdev-out x --physdev-is-bridged",
        True,
    ),
    ("policy", "filter", "-A OUTPUT -j a\n-A a -m policy --dir in --pol none", False),
    ("devices", "filter", "-A INPUT -j a\n-A a -m devgroup --dst-group 1", False),
    ("rpfilter", "mangle", "-A FORWARD -j a\n-A a -m rpfilter", False),
    ("class", "mangle", "-A INPUT -j a\n-A a -j CLASSIFY --set-class 1:1", False),
    ("proxy", "mangle", "-A INPUT -j a\n-A a -p tcp -j TPROXY --on-port 1", False),
    ("proxy allowed", "mangle", "-A PREROUTING -j a\n-A a -p tcp -j TPROXY --on-port 1", True),
    (
        "segment size",
        "mangle",
        "-A INPUT -j a\n-A a -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu",
        False,
    ),
    ("masquerade", "nat", "-A PREROUTING -j a\n-A a -j MASQUERADE", False),
    ("destination", "nat", "-A PREROUTING -j a\n-A a -j DNAT --to-destination 10.0.0.1", True),
]

cases = pytest.mark.parametrize(
    ("table", "rules", "accepted"), [case[1:] for case in RULESETS], ids=[c[0] for c in RULESETS]
)


def text(table: str, rules: str) -> str:
    return f"*{table}\n:a - [0:0]\n:b - [0:0]\n{rules}\nCOMMIT\n"


@cases
def test_places(table: str, rules: str, accepted: bool) -> None:
    if accepted:
        parse_saved(text(table, rules), "rules", V4)
        return
    with pytest.raises(RuleError, match="leads here") as caught:
        parse_saved(text(table, rules), "rules", V4)
    last = 3 + len(rules.splitlines())
    assert caught.value.span is not None
    assert caught.value.span.line == last
