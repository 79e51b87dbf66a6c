"""Real rulesets are read whole, but for the lines iptables itself refuses, and come back.

That what comes back is what iptables-save prints is judged by `tests/e2e/test_judge.py`
with the installed tool; here it is that saved text reads and saves the same, and that
exactly the lines known to be wrong are refused.
"""

from __future__ import annotations

import pytest

from bpfilter.rules import saved
from bpfilter.rules.check import check_ruleset
from bpfilter.rules.saved import format_saved, parse_saved, read_saved
from tests.unit.rulesets import RealRuleset, rulesets

#: Files with lines iptables-restore refuses too: how many, and what about.
REFUSED: dict[str, dict[str, int]] = {
    "parser-test.v4": {'unknown option "--something-else"': 1, "Couldn't load match `icmp6'": 2},
    # iptables took the range before 1.8.11.
    "tum-i8-2014-07.v4": {
        "Invalid MAC address specified.": 1416,
        "Port range 60000-29 is negative.": 1,
    },
    "tum-i8-2016-03.v6": {"Invalid MAC address specified.": 1644},
    "veroneau-net.v4": {"Bad argument `COMMIT'": 1, "COMMIT expected at line 271": 1},
}


@pytest.fixture(params=rulesets(), ids=str)
def ruleset(request: pytest.FixtureRequest) -> RealRuleset:
    assert isinstance(request.param, RealRuleset)
    return request.param


@pytest.fixture(autouse=True)
def _all_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "MAX_ERRORS", 10_000)


def test_reads_and_comes_back(ruleset: RealRuleset) -> None:
    text = ruleset.path.read_bytes()
    read, errors = read_saved(text, ruleset.path.name, ruleset.family)
    counted: dict[str, int] = {}
    for error in errors:
        counted[error.message] = counted.get(error.message, 0) + 1
    assert counted == REFUSED.get(ruleset.path.name, {})
    if "COMMIT expected at line 271" in counted:
        return
    assert check_ruleset(read) == []
    written = format_saved(read, counters=True)
    again = parse_saved(written, "again", ruleset.family)
    assert again == read
    assert format_saved(again, counters=True) == written


# What iptables-save wrote, release and counters apart, is written again to the letter.
@pytest.mark.parametrize(
    "name",
    [
        "apf.rules", "arno-nat-router.rules", "docker-two-networks.rules",
        "fail2ban-sshd-50.rules", "ferm-dmz_router.rules", "ferm-dsl_router.rules",
        "firehol-router.rules",
        "firewalld-public-ip6.rules", "firewalld-public.rules", "kube-proxy.rules",
        "netavark-one-container.rules", "shorewall-two-interfaces.rules", "ufw-ip6.rules",
        "ufw.rules",
    ],
)  # fmt: skip
def test_saved_text_is_written_as_it_was(name: str) -> None:
    found = [r for r in rulesets() if isinstance(r, RealRuleset) and r.path.name == name]
    if not found:
        pytest.skip("there is no ../shared/rulesets beside the project")
    text = found[0].path.read_text()
    # Older ones had names for all protocols that /etc/protocols has.
    text = text.replace(" -p igmp ", " -p 2 ")
    expected = "".join(line for line in text.splitlines(True) if line[0] != "#")
    assert format_saved(parse_saved(text, name, found[0].family)) == expected
