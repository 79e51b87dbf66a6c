"""The quick reader gives what the whole grammar gives, or nothing."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from bpfilter.rules.model import Family, Rule
from bpfilter.rules.options import RuleParser
from bpfilter.rules.quick import QuickReader
from bpfilter.rules.words import split_line, split_words
from tests.unit.rulesets import rulesets, tables_of

CHAINS = {"INPUT", "OUTPUT", "FORWARD", "user", "LOG"}


def quick(line: str, table: str = "filter") -> Rule | None:
    made = QuickReader(Family.IPV4, table, CHAINS).read(split_line(line), None, None)
    return None if made is None else made[1]


def slow(line: str, table: str = "filter") -> Rule:
    command = RuleParser(Family.IPV4, table, CHAINS).parse_words(split_words(line))
    assert command is not None
    (rule,) = command.rules
    return rule


@pytest.mark.parametrize(
    "line",
    [
        "-A INPUT",
        "-A INPUT -s 10.0.0.0/8 ! -d 1.2.3.4/32 -i eth+ -p tcp -j user",
        "-A INPUT -p tcp -m tcp ! --dport 22 --tcp-flags SYN,ACK SYN -j ACCEPT",
        "-A INPUT -p tcp -m tcp --dport 22 -m state ! --state NEW -j DROP",
        '-A INPUT -m comment --comment "a ! b" -j RETURN',
        "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
    ],
)
def test_reads_what_is_saved(line: str) -> None:
    assert quick(line) == slow(line)
    assert quick(line) is not None


# Everything here means something else, or nothing, to iptables: the quick reader leaves it.
@pytest.mark.parametrize(
    "line",
    [
        "-I INPUT",
        "-A",
        "-A INPUT -s",
        "-A INPUT -s 1.1.1.1,2.2.2.2",
        "-A INPUT -s 1.1.1.1 -s 1.1.1.1",
        "-A INPUT -s ! 1.1.1.1",
        "-A INPUT ! ! -s 1.1.1.1",
        "-A INPUT !",
        "-A INPUT -s nosuch",
        "-A INPUT -f",
        "-A INPUT -o eth0",
        "-A OUTPUT -i eth0",
        "-A INPUT -i sixteencharacters",
        "-A INPUT -p all",
        "-A INPUT ! -j DROP",
        "-A INPUT ! -m tcp",
        "-A INPUT -j nosuch",
        "-A INPUT -j LOG",  # a chain and a target
        "-A INPUT -p tcp --dport 22",
        "-A INPUT -p tcp -m tcp --dport ! 22",
        "-A INPUT -p tcp -m tcp --dport 22 --dport 22",
        "-A INPUT -p tcp -m tcp --dport 22 --destination-port 22",
        "-A INPUT -p tcp -m tcp --tcp-flags SYN",
        "-A INPUT -p tcp -m tcp --tcp-flags SYN -x",
        "-A INPUT -p tcp -m tcp -m tcp",
        "-A INPUT -m tcp --dport 22",
        "-A INPUT -m comment",
        "-A INPUT -m comment ! --comment x",
        "-A INPUT -m comment --comment x -m state --state NEW --comment y",
    ],
)
def test_leaves_the_rest(line: str) -> None:
    assert quick(line) is None


def test_leaves_drop_in_nat() -> None:
    assert quick("-A INPUT -j DROP", "nat") is None
    assert quick("-A INPUT -j ACCEPT", "nat") is not None


@pytest.mark.parametrize("ruleset", rulesets(), ids=str)
def test_agrees_on_real_rules(ruleset: object) -> None:
    read = 0
    for family, table, chains, lines in tables_of(ruleset):
        reader = QuickReader(family, table, chains)
        parser = RuleParser(family, table, chains)
        for line in lines[:400]:
            made = reader.read(split_line(line), None, None)
            if made is None:
                continue
            command = parser.parse_words(split_words(line))
            assert command is not None
            assert (made[0], (made[1],)) == (command.chain, command.rules)
            read += 1
    assert read


def test_faults_are_left_for_the_whole_grammar() -> None:
    line = "-A INPUT -p tcp -m tcp --dport 99999"
    assert quick(line) is None
    with pytest.raises(SourceError, match="99999"):
        slow(line)
