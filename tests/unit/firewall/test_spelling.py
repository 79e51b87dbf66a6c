"""One spelling of rules: what is taken at a glance is what iptables-save would print."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter import Family
from bpfilter.firewall.spelling import Speller

CHAINS = {"INPUT", "FORWARD", "OUTPUT", "own", "tcp"}


#: What a line is put together of, and odd ways to write that.
PARTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("-A INPUT", "-A own"), ("-A  own", "-A 'own'", '-A "own"', "-I own", "-A gone", "-A +")),
    (
        ("", "-s 10.0.0.1/32", "! -s 10.0.0.0/8", "-s ::1/128", "-s 2001:db8::/32"),
        (
            *("-s 10.0.0.1", "-s 010.0.0.1/32", "-s 10.1.2.3/8", "-s 10.0.0.0/255.0.0.0"),
            *("-s 0.0.0.0/0", "! -s 1.2.3.4/0", "-s 10.0.0.0/08", "--src 10.0.0.1/32", "-s ::/0"),
            *("-s ::1", "-s 1:0::0:1/128", "-s 2001:db8::1/32", "-s ::1.2.3.4/128"),
        ),
    ),
    (("", "-d 10.0.0.1/32", "-d ::1/128"), ("-d 10.1.2.3/8", "! -d ::/0", "-d ::1 -s ::2")),
    (
        ("", "-i eth0", "! -i eth+"),
        ("-i +", '-i "eth0"', "-i 'a'", "-i e+h", "! -i +", "-o lo -i lo"),
    ),
    (("", "-o eth0"), ("-o +", "--out-interface lo")),
    (("", "-p tcp"), ("-p udp", "-p 6", "-p TCP", "-p all", "! -p tcp", "-p tcp -p tcp")),
    (("", "-m comment --comment a"), ()),
    (("-m tcp", "-m tcp"), ("", "-m udp", "-m udp -m tcp", "--tcp-flags SYN SYN -m tcp")),
    (
        ("", "--sport 80", "! --sport 80:90"),
        ("--sport 080", "--sport 80:80", "--sport 0:65535", "--sport :9", "! --sport 0:65535"),
    ),
    (
        ("", "--dport 0", "! --dport 0:80"),
        ("--dport http", "--dport 9:9", "! --dport 0:65535", "--dport 9:8", "--dport 65536"),
    ),
    (
        ("", "-m comment --comment a-b_c", '-m comment --comment "a b"'),
        (
            *(
                '-m comment --comment "a"',
                '-m comment --comment "a \\" b"',
                "-m comment --comment a:b",
            ),
            *('-m comment --comment ""', '-m comment --comment "é"', "-m comment --comment 'a b'"),
        ),
    ),
    (
        ("", "-j DROP", "-g own"),
        ("-j gone", "-j 'DROP'", "-j tcp", "-j", "-j own -j own", "-g DROP"),
    ),
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Draw a line with one odd part, or with none."""
    odd = draw(st.integers(0, len(PARTS)))
    words = [
        draw(st.sampled_from(ways if number == odd and ways else usual))
        for number, (usual, ways) in enumerate(PARTS)
    ]
    return " ".join(word for word in words if word)


@settings(max_examples=600)
@given(lines(), st.sampled_from(Family))
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
