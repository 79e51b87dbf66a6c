"""One spelling of rules: what is taken at a glance is what iptables-save would print."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter import Family
from bpfilter.firewall.spelling import Speller

CHAINS = {"INPUT", "FORWARD", "OUTPUT", "own", "tcp"}


def maybe(option: str, *values: str) -> st.SearchStrategy[str]:
    given_ = st.tuples(st.sampled_from([option, option, f"! {option}"]), st.sampled_from(values))
    return st.one_of(st.just(""), given_.map(" ".join))


ADDRESSES = (
    *("10.0.0.1/32", "10.0.0.1", "010.0.0.1/32", "10.1.2.3/8", "10.0.0.0/8", "10.0.0.0/255.0.0.0"),
    *("0.0.0.0/0", "1.2.3.4/0", "10.0.0.0/08", "10.0.0.0/32", "1.1.1.1/33", "1.1.1.1/"),
    *(
        "::/0",
        "::1/128",
        "::1",
        "1:0::0:1/128",
        "2001:db8::/32",
        "2001:db8::1/32",
        "::1.2.3.4/128",
    ),
)
PORTS = "80", "080", "0", "80:90", "90:80", "80:80", "0:65535", "0:", ":", ":90", "http", "65536"
COMMENTS = "a", "a-b_c", '"a"', '"a b"', '"a \\" b"', '"a:b"', "a:b", '""', '"é"', "'a b'"
LINES = st.tuples(
    st.sampled_from(
        ["-A INPUT", "-A own", "-A  own", "-A 'own'", '-A "own"', "-I own", "-A gone"]
    ),
    maybe("-s", *ADDRESSES),
    maybe("-d", *ADDRESSES),
    maybe("-i", "eth0", "eth+", "+", '"eth0"', "a-b", "e+h"),
    maybe("-o", "eth0", "eth+", "+"),
    maybe("-p", "tcp", "udp", "6", "TCP", "all", "0"),
    st.one_of(st.just(""), st.sampled_from(COMMENTS).map("-m comment --comment {}".format)),
    st.sampled_from(["", "", "-m tcp", "-m udp", "-m udp -m tcp"]),
    maybe("--sport", *PORTS),
    maybe("--dport", *PORTS),
    st.one_of(st.just(""), st.sampled_from(COMMENTS).map("-m comment --comment {}".format)),
    st.sampled_from(["", "-j DROP", "-j own", "-g own", "-j gone", "-j 'DROP'", "-j tcp", "-j"]),
).map(lambda words: " ".join(word for word in words if word))


@settings(max_examples=600)
@given(LINES, st.sampled_from(Family))
def test_what_is_taken_at_a_glance_reads_and_prints_the_same(line: str, family: Family) -> None:
    speller = Speller(family, CHAINS)
    raw = line.encode()
    if speller._is_spelt(raw):
        # A line that cannot be read was never in force, and there is nothing to compare it with.
        assert speller._spelt(raw) in (raw, None)


@pytest.mark.parametrize(
    ("line", "spelt"),
    [
        ("-A INPUT -s 1.1.1.1 -p 6 -m tcp --dport http -j DROP", None),
        ("-A INPUT -s 1.1.1.1/32 -p tcp -m tcp --dport 80 -j DROP", ""),
        (
            "-A own -s 1.1.1.0/24 -d 10.0.0.0/8 ! -i eth+ -o lo -p udp -m udp --sport 1:2 -g own",
            "",
        ),
        ('-A own -p tcp -m comment --comment "of kube" -m tcp ! --dport 80 -j own', ""),
        ("-A own -m conntrack --ctstate ESTABLISHED -j ACCEPT", None),
    ],
)
def test_most_lines_are_taken_at_a_glance(line: str, spelt: str | None) -> None:
    speller = Speller(Family.IPV4, CHAINS)
    assert speller._is_spelt(line.encode()) == (spelt is not None)
    again = speller.spell(line.encode())
    assert again is not None
    assert speller.spell(again) == again


def test_a_line_that_cannot_be_read_has_no_spelling() -> None:
    assert Speller(Family.IPV4, CHAINS).spell(b"-A own -m gone") is None
