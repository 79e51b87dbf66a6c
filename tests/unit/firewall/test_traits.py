"""Traits of rules: the same in every spelling, and the same for columns as for rules."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter import Family, parse_saved
from bpfilter.errors import SourceError
from bpfilter.firewall.large import _traits
from bpfilter.firewall.traits import trait
from bpfilter.rules.bulk import read_bulk
from bpfilter.rules.model import Rule
from bpfilter.rules.options import RuleParser, format_rule
from bpfilter.source import Span
from tests.unit.firewall.test_spelling import CHAINS, lines

HEAD = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
OWN = [":own - [0:0]", ":other - [0:0]", ":more - [0:0]"]


def read(line: str, family: Family) -> tuple[str, Rule] | None:
    try:
        parser = RuleParser(family, "filter", CHAINS)
        command = parser.parse_line(line, Span("test", 1, 1, len(line) + 1, line))
    except SourceError:
        return None
    if command is None or len(command.rules) != 1:
        return None
    return command.chain, command.rules[0]


@settings(max_examples=400)
@given(lines(), st.sampled_from(Family))
def test_the_same_in_every_spelling(line: str, family: Family) -> None:
    found = read(line, family)
    if found is None:
        return
    chain, rule = found
    again = read(format_rule(rule, chain, family), family)
    if again == found:  # `-i +` and `-s 0/0` are not written, and make another rule
        assert again is not None
        assert trait(*again) == trait(chain, rule)


def drawn(rng: random.Random, family: Family) -> str:
    """Draw a line of a shape or two, in one of its spellings."""

    def address() -> str:
        if family is Family.IPV4:
            return f"{rng.randrange(256)}.{rng.randrange(256)}.0.0/{rng.randrange(1, 33)}"
        return f"{rng.randrange(65536):x}::{rng.randrange(65536):x}/{rng.randrange(1, 129)}"

    source, destination = rng.choice([("-s", "-d"), ("--source", "--dst"), ("! -s", "-d")])
    port = rng.choice(["80", "http", "1024:65535", "0:65535", "8080"])
    return " ".join(
        [
            f"-A {rng.choice(['INPUT', 'FORWARD', 'own', 'other'])}",
            rng.choice(["", f"{source} {address()}"]),
            rng.choice(["", f"{destination} {address()}"]),
            rng.choice(["", "-i eth0", "! -i eth+"]),
            rng.choice(["", f"-p tcp -m tcp --dport {port}", f"-p 17 -m udp ! --sport {port}"]),
            rng.choice(["", '-m comment --comment "a b"', "-m mark --mark 0x1"]),
            rng.choice(["-j DROP", "-j ACCEPT", "", "-j more", "-g more"]),
        ]
    )


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("seed", range(5))
def test_columns_as_rules(seed: int, family: Family) -> None:
    rng = random.Random(seed)
    rules = [drawn(rng, family) for _ in range(600)]
    text = HEAD + "\n".join([*OWN, *rules, "COMMIT\n"])
    tables = read_bulk(text, "test", family)
    assert tables is not None
    table = parse_saved(text, "test", family).table("filter")
    assert table is not None
    by_line = {
        rule.span.line: trait(chain.name, rule)
        for chain in table.chains
        for rule in chain.rules
        if rule.span is not None
    }
    assert list(_traits(tables["filter"])) == [by_line[line] for line in sorted(by_line)]
    # They tell most rules apart.
    assert len(set(by_line.values())) > 0.8 * len(set(rules))


def test_equal_numbers_are_of_equal_rules_but_for_what_is_not_looked_at() -> None:
    one = read("-A INPUT -s 10.0.0.1 -p tcp --dport 80 -j DROP", Family.IPV4)
    assert one is not None
    for other in (
        "-A own -s 10.0.0.1 -p tcp --dport 80 -j DROP",
        "-A INPUT -d 10.0.0.1 -p tcp --dport 80 -j DROP",
        "-A INPUT -s 10.0.0.2 -p tcp --dport 80 -j DROP",
        "-A INPUT -s 10.0.0.0/31 -p tcp --dport 80 -j DROP",
        "-A INPUT -s 10.0.0.1 -p udp --dport 80 -j DROP",
        "-A INPUT -s 10.0.0.1 -p tcp --sport 80 -j DROP",
        "-A INPUT -s 10.0.0.1 -p tcp --dport 80:81 -j DROP",
        "-A INPUT -s 10.0.0.1 -p tcp --dport 80 -j ACCEPT",
        "-A INPUT -s 10.0.0.1 -p tcp --dport 80 -j own",
        "-A INPUT -s 10.0.0.1 -p tcp --dport 80 -g own",
        "-A INPUT -s 10.0.0.1 -i lo -p tcp --dport 80 -j DROP",
    ):
        found = read(other, Family.IPV4)
        assert found is not None
        assert trait(*found) != trait(*one), other
