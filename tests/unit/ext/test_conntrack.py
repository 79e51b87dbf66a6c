"""`-m conntrack` and `-m state` (conntrack_mt)."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError, SourceError
from bpfilter.rules.model import Family
from tests.unit.ext.support import Outcome, Values, decide, listed, match, parse, saved

V6 = Family.IPV6

ESTABLISHED: Values = {
    "ct_present": 1,
    "ct_state": 0x002 | 0x080,  # and DNAT
    "ct_reply": 1,
    "ct_proto": 6,
    "ct_status": 0x0E,
    "ct_expire": 60,
    "ct_origsrc": [0x0A010203, 0, 0, 0],
    "ct_repldst": [0x0A010203, 0, 0, 0],
    "ct_origsrcport": 40000,
    "ct_origdstport": 22,
}
UNTRACKED: Values = {"ct_state": 0x100}
INVALID: Values = {"ct_state": 0x001}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--ctstate new,EST,rel", "--ctstate NEW,RELATED,ESTABLISHED"),
        ("! --ctstate U,I,S,D", "! --ctstate INVALID,UNTRACKED,SNAT,DNAT"),
        ("--ctproto TCP", "--ctproto 6"),
        ("--ctorigsrc 10.1.2.3/8 ! --ctrepldst 1.2.3.4", None),
        ("--ctreplsrc 10.1 --ctorigdst 0/0", "--ctorigdst 0.0.0.0/0 --ctreplsrc 10.0.0.1"),
        (
            "--ctorigsrcport ssh ! --ctrepldstport 5:",
            "--ctorigsrcport 22 ! --ctrepldstport 5:65535",
        ),
        ("--ctorigsrc 10.0.0.0/255.0.255.0", "--ctorigsrc 10.0.0.0/255.0.255.0"),
        ("--ctstatus none", "--ctstatus NONE"),
        ("! --ctstatus A,SEEN_REPLY", "! --ctstatus SEEN_REPLY,ASSURED"),
        ("--ctexpire 5: --ctdir reply", "--ctexpire 5:4294967295 --ctdir REPLY"),
        ("--ctdir ORIGINAL --ctstate NEW", "--ctstate NEW --ctdir ORIGINAL"),
    ],
)
def test_text(words: str, line: str | None) -> None:
    line = words if line is None else line
    assert saved(f"-m conntrack {words}") == f"-m conntrack {line}"
    assert listed(f"-m conntrack {words}") == line.replace("--", "")


def test_ipv6_addresses() -> None:
    words = "-m conntrack --ctorigsrc 2001:db8::1/32 ! --ctrepldst ::1"
    assert saved(words, V6) == words


def test_state_keeps_its_name() -> None:
    assert saved("-m state --state EST,NEW") == "-m state --state NEW,ESTABLISHED"
    assert listed("-m state ! --state NEW") == "! state NEW"
    assert type(match("-m state --state NEW")).__name__ == "State"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-m conntrack", "At least one option is required"),
        ("-m conntrack --ctstate NEW,", 'Bad ctstate ""'),
        ("-m conntrack --ctstate NEW,FOO", 'Bad ctstate "FOO"'),
        ("-m conntrack --ctstatus X", 'Bad ctstatus "X"'),
        ("-m conntrack --ctproto foo", "unknown protocol"),
        ("-m conntrack --ctorigsrc host", "not an address"),
        ("-m conntrack --ctorigsrc ::1", "not an address"),
        ("-m conntrack --ctorigsrcport 0x16", "does not resolve"),
        ("-m conntrack --ctorigsrcport 65536", "does not resolve"),
        ("-m conntrack --ctexpire 1:2:3", "Too many components"),
        ("-m conntrack --ctdir both", 'Bad value for "--ctdir" option: "both"'),
        ("-m conntrack ! --ctdir REPLY", "cannot be inverted"),
        ("-m state", '"--state" must be specified'),
        ("-m state --state DNAT", 'Bad state "DNAT"'),
    ],
)
def test_refused(words: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(words)
    assert message in str(caught.value)
    assert caught.value.span is not None


def test_bad_value_is_marked() -> None:
    with pytest.raises(RuleError) as caught:
        parse("-m conntrack --ctstate NEW --ctproto foo")
    span = caught.value.span
    assert span is not None
    assert span.text[span.column - 1 : span.end - 1] == "foo"


@pytest.mark.parametrize(
    ("words", "values", "outcome"),
    [
        ("--ctstate ESTABLISHED", ESTABLISHED, Outcome.MATCH),
        ("--ctstate DNAT", ESTABLISHED, Outcome.MATCH),
        ("--ctstate NEW,SNAT", ESTABLISHED, Outcome.MISS),
        ("! --ctstate NEW", ESTABLISHED, Outcome.MATCH),
        ("--ctstate UNTRACKED", UNTRACKED, Outcome.MATCH),
        ("! --ctstate INVALID", UNTRACKED, Outcome.MATCH),
        ("--ctstate INVALID", INVALID, Outcome.MATCH),
        # without a connection --ctstate decides alone, and nothing else can match
        ("--ctstate INVALID --ctproto udp --ctdir REPLY", INVALID, Outcome.MATCH),
        ("--ctstate NEW --ctproto udp", INVALID, Outcome.MISS),
        ("! --ctproto tcp", UNTRACKED, Outcome.MISS),
        ("--ctproto tcp", ESTABLISHED, Outcome.MATCH),
        ("--ctstate ESTABLISHED --ctproto udp", ESTABLISHED, Outcome.MISS),
        ("! --ctproto udp", ESTABLISHED, Outcome.MATCH),
        ("--ctorigsrc 10.1.2.3", ESTABLISHED, Outcome.MATCH),
        ("--ctorigsrc 10.9.9.9/8", ESTABLISHED, Outcome.MATCH),
        ("! --ctrepldst 10.1.0.0/16", ESTABLISHED, Outcome.MISS),
        ("--ctorigdst 1.2.3.4", ESTABLISHED, Outcome.MISS),
        ("--ctorigsrcport 40000 --ctorigdstport 20:22", ESTABLISHED, Outcome.MATCH),
        ("! --ctorigdstport 22", ESTABLISHED, Outcome.MISS),
        ("--ctstatus ASSURED", ESTABLISHED, Outcome.MATCH),
        ("--ctstatus EXPECTED", ESTABLISHED, Outcome.MISS),
        ("--ctstatus NONE", ESTABLISHED, Outcome.MISS),
        ("! --ctstatus NONE", ESTABLISHED, Outcome.MATCH),
        ("--ctexpire 60", ESTABLISHED, Outcome.MATCH),
        ("! --ctexpire 50:60", ESTABLISHED, Outcome.MISS),
        ("--ctdir REPLY", ESTABLISHED, Outcome.MATCH),
        ("--ctdir ORIGINAL", ESTABLISHED, Outcome.MISS),
    ],
)
def test_predicate(words: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-m conntrack {words}", values) is outcome


@pytest.mark.parametrize(
    ("words", "outcome"),
    [("--state ESTABLISHED", Outcome.MATCH), ("! --state NEW,ESTABLISHED", Outcome.MISS)],
)
def test_state_predicate(words: str, outcome: Outcome) -> None:
    assert decide(f"-m state {words}", ESTABLISHED) is outcome


def test_ipv6_predicate() -> None:
    values: Values = {"ct_present": 1, "ct_origsrc": [0x20010DB8, 0, 0, 1]}
    assert decide("-m conntrack --ctorigsrc 2001:db8::9/64", values, V6) is Outcome.MATCH
    assert decide("-m conntrack --ctorigsrc 2001:db8::9", values, V6) is Outcome.MISS
