"""One rule as words: the grammar of iptables, each case seen with iptables-legacy 1.8.9."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError, RuleSyntaxError, SourceError
from bpfilter.rules.draft import Command
from bpfilter.rules.model import Counters, Family, Interface, Jump, Protocol
from bpfilter.rules.options import RuleFormatter, RuleParser, format_rule, parse_rule
from bpfilter.rules.registry import Context
from bpfilter.rules.words import split_words

V4, V6 = Family.IPV4, Family.IPV6
CHAINS = {"INPUT", "FORWARD", "OUTPUT", "user"}


def command(line: str, family: Family = V4, table: str = "filter") -> Command:
    made = RuleParser(family, table, CHAINS).parse_words(split_words(line, "file"))
    assert made is not None
    return made


def saved(line: str, family: Family = V4) -> list[str]:
    made = command(line, family)
    return [format_rule(rule, made.chain, family) for rule in made.rules]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-A INPUT", "-A INPUT"),
        ("-j DROP -p TCP -i lo -A INPUT", "-A INPUT -i lo -p tcp -j DROP"),
        ("--append INPUT --protocol udp --jump ACCEPT", "-A INPUT -p udp -j ACCEPT"),
        ("-AINPUT -gote", "-A INPUT -g ote"),
        ("-A INPUT --sour 10.0.0.0/8 --dest 1.2.3.4", "-A INPUT -s 10.0.0.0/8 -d 1.2.3.4/32"),
        ("-A INPUT --sr 10.0.0.0/8 --ds 1.2.3.4", "-A INPUT -s 10.0.0.0/8 -d 1.2.3.4/32"),
        ("-A INPUT ! -s 1.2.3.4 ! -i eth+", "-A INPUT ! -s 1.2.3.4/32 ! -i eth+"),
        ("-A INPUT -s ! 1.2.3.4 -p ! udp", "-A INPUT ! -s 1.2.3.4/32 ! -p udp"),
        ("-A INPUT -s 0.0.0.0/0 ! -d 0/0", "-A INPUT ! -d 0.0.0.0/0"),
        ("-A INPUT -i +", "-A INPUT"),
        ("-A INPUT -p all", "-A INPUT"),
        ("-A INPUT -p 0", "-A INPUT"),
        ("-A INPUT -p 47 -p4", None),
        ("-A INPUT -p 0x6", "-A INPUT -p tcp"),
        ("-A INPUT -p 200", "-A INPUT -p 200"),
        ("-A INPUT -f", "-A INPUT -f"),
        ("-A INPUT ! --fragments -v", "-A INPUT ! -f"),
        ("-A INPUT -g user", "-A INPUT -g user"),
        ("-A INPUT -p tcp --dport 22", "-A INPUT -p tcp -m tcp --dport 22"),
        ("-A INPUT -p 6 --dport 22", "-A INPUT -p tcp -m tcp --dport 22"),
        ("-A INPUT -p tcp --dpo=22", "-A INPUT -p tcp -m tcp --dport 22"),
        ("-A INPUT -p tcp --dport ! 22", "-A INPUT -p tcp -m tcp ! --dport 22"),
        ("-A INPUT -m tcp --dport 22 -p tcp", "-A INPUT -p tcp -m tcp --dport 22"),
        # the protocol's match is loaded where it is first needed, after the others
        (
            "-A INPUT -p tcp -m state --state NEW --syn --dport 1 -m comment --comment x",
            "-A INPUT -p tcp -m state --state NEW -m tcp --dport 1 "
            "--tcp-flags FIN,SYN,RST,ACK SYN -m comment --comment x",
        ),
        # an option goes to the last match of its name
        (
            "-A INPUT -m comment --comment a -m comment --comment b",
            "-A INPUT -m comment --comment a -m comment --comment b",
        ),
        ("-A INPUT -c 5 6", "-A INPUT"),
        ('-A INPUT -m comment --comment "!"', '-A INPUT -m comment --comment "!"'),
        ("-A INPUT -m comment --comment -x", "-A INPUT -m comment --comment -x"),
    ],
)
def test_spellings(line: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(SourceError):
            saved(line)
    elif "-g ote" in expected:
        with pytest.raises(RuleError, match="goto 'ote' is not a chain"):
            saved(line)
    else:
        assert saved(line) == [expected]


def test_several_addresses_make_several_rules() -> None:
    assert saved("-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4 -j DROP") == [
        "-A INPUT -s 1.1.1.1/32 -d 3.3.3.3/32 -j DROP",
        "-A INPUT -s 1.1.1.1/32 -d 4.4.4.4/32 -j DROP",
        "-A INPUT -s 2.2.2.2/32 -d 3.3.3.3/32 -j DROP",
        "-A INPUT -s 2.2.2.2/32 -d 4.4.4.4/32 -j DROP",
    ]


# (line, message, the word it is about)
@pytest.mark.parametrize(
    ("line", "message", "word"),
    [
        ("-A INPUT stray", "Bad argument `stray'", "stray"),
        ("-A INPUT -", "Bad argument `-'", "-"),
        ("-A INPUT --nosuch", 'unknown option "--nosuch"', "--nosuch"),
        ("-A INPUT -k", 'unknown option "-k"', "-k"),
        ("-A INPUT --s 1.2.3.4", "unknown option", "--s"),  # ambiguous
        ("-A INPUT -p tcp --d 22", "unknown option", "--d"),
        ("-A INPUT --dport 22", "unknown option", "--dport"),
        ("-A INPUT -p gre --dport 22", "unknown option", "--dport"),
        ("-A INPUT -s", 'option "-s" requires an argument', "-s"),
        ("-A INPUT -p tcp --dport", 'option "--dport" requires an argument', "--dport"),
        ("-A INPUT --fragments=1", "unknown option", "--fragments=1"),
        ("-A INPUT -s 1.2.3.4 -s 1.2.3.4", "multiple --source options not allowed", "-s"),
        ("-A INPUT -j DROP -g user", "multiple --jump options not allowed", "-g"),
        ("-A INPUT ! -j DROP", "cannot have ! before --jump", "!"),
        ("-A INPUT ! -m tcp", "unexpected ! flag before --match", "!"),
        ("! -A INPUT", "unexpected '!' flag", "!"),
        ("-A INPUT ! ! -s 1.2.3.4", "multiple consecutive ! not allowed", "!"),
        ("-A INPUT ! -s ! 1.2.3.4", "Multiple `!' flags not allowed", "!"),
        ("-A INPUT !", "nothing appropriate following !", "!"),
        ("-A INPUT -D user", "Cannot use -D with -A", "-D"),
        ("-j DROP", "no command specified", "-j"),
        ("-A INPUT -- x", "unknown arguments found", "x"),
        ("-A INPUT -t nat", "-t option cannot be used", "-t"),
        ("-A INPUT -n", "Illegal option `--numeric' with this command", "-n"),
        ("-A INPUT -c 5", "--set-counters requires packet and byte counter", "-c"),
        ("-A INPUT -c x,5", "packet counter not numeric", "x,5"),
        ("-I INPUT x", "Invalid rule number `x'", "x"),
        ("-A INPUT -p tcp -m tcp --dport 1 --dport 2", "can only be used once", "--dport"),
        ("-A INPUT -m comment ! --comment x", "cannot be inverted", "--comment"),
        (
            "-A INPUT -p tcp --tcp-flags SYN -j DROP",
            "--tcp-flags requires two args",
            "--tcp-flags",
        ),
        ("-A INPUT -m comment", 'option "--comment" must be specified', "comment"),
    ],
)
def test_syntax_errors(line: str, message: str, word: str) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        command(line)
    assert message in str(caught.value)
    span = caught.value.span
    assert span is not None
    assert line[span.column - 1 : span.end - 1] == word


@pytest.mark.parametrize(
    ("line", "message", "word"),
    [
        ("-A INPUT -p nosuch", 'unknown protocol "nosuch" specified', "nosuch"),
        ("-A INPUT ! -p all", "rule would never match protocol", "all"),
        ("-A INPUT -o eth0", "Can't use --out-interface with INPUT", "eth0"),
        ("-A OUTPUT -i eth0", "Can't use --in-interface with OUTPUT", "eth0"),
        ('-A INPUT -i ""', "Empty interface", '""'),
        (
            "-A INPUT -i sixteencharacters",
            "must be shorter than 16 characters",
            "sixteencharacters",
        ),
        ("-A INPUT -m nosuch", "Couldn't load match `nosuch'", "nosuch"),
        ("-A INPUT -j nosuch", "Couldn't load target `nosuch'", "nosuch"),
        ("-A INPUT -g DROP", "goto 'DROP' is not a chain", "DROP"),
        ("-A INPUT -m tcp --dport 22", "only valid with -p tcp", "tcp"),
        ("-A INPUT ! -p tcp --dport 22", "only valid with -p tcp", "--dport"),
        ("-A INPUT -s example.org", "host/network `example.org' not found", "example.org"),
        ("-A INPUT ! -s 1.1.1.1,2.2.2.2", "! not allowed with multiple", "1.1.1.1,2.2.2.2"),
        ("-A INPUT ! -s 1.1.1.1 -d 1.1.1.1,2.2.2.2", "! not allowed with", "1.1.1.1,2.2.2.2"),
        ("-R INPUT 1 -s 1.1.1.1,2.2.2.2", "does not specify a unique address", "-R"),
        ("-A " + "x" * 29, "too long (must be under 29 chars)", "x" * 29),
    ],
)
def test_semantic_errors(line: str, message: str, word: str) -> None:
    with pytest.raises(RuleError) as caught:
        command(line)
    assert message in str(caught.value)
    span = caught.value.span
    assert span is not None
    assert line[span.column - 1 : span.end - 1] == word


def test_ipv6_has_no_fragment_flag() -> None:
    with pytest.raises(RuleError, match="use -m frag instead"):
        command("-A INPUT -f", V6)


def test_nat_is_not_for_dropping() -> None:
    for line in ("-A INPUT -j DROP", "-P INPUT DROP"):
        with pytest.raises(RuleError, match="not intended for filtering"):
            command(line, table="nat")
    assert command("-A INPUT -j ACCEPT", table="nat").rules


def test_lines_of_the_other_family_are_passed_over() -> None:
    parser = RuleParser(V4)
    assert parser.parse_words(split_words("-A INPUT -6 -s ::1")) is None
    assert parser.parse_words(split_words("-A INPUT -4 -s 1.2.3.4")) is not None
    assert RuleParser(V6).parse_words(split_words("-A INPUT --ipv4 -j DROP")) is None


def test_values_of_a_rule() -> None:
    chain, rule = parse_rule(
        split_words("-A FORWARD -i eth0 ! -o ppp+ ! -p udp -j user -c 7,8", "file", 3),
        Context(V4),
    )
    assert chain == "FORWARD"
    assert rule.in_interface == Interface("eth0")
    assert rule.out_interface == Interface("ppp+", inverted=True)
    assert rule.protocol == Protocol(17, inverted=True)
    assert rule.target == Jump("user")
    assert rule.counters == Counters(7, 8)
    assert str(rule.span) == "file:3:1"


def test_parse_rule_wants_one_rule() -> None:
    for line in ("-N x", "-A INPUT -s 1.1.1.1,2.2.2.2", "-A INPUT -6"):
        with pytest.raises(RuleSyntaxError, match="one rule"):
            parse_rule(split_words(line), Context(V4))
    with pytest.raises(RuleSyntaxError, match="no command"):
        parse_rule([], Context(V4))


def test_other_commands() -> None:
    assert command("-I INPUT") == Command("I", "INPUT", "", command("-A x").rules)
    assert command("-I INPUT 3 -j DROP").argument == "3"
    assert command("-D INPUT 3").argument == "3"
    assert command("-N new") == Command("N", "new")
    assert command("-P INPUT DROP") == Command("P", "INPUT", "DROP")
    assert command("-E old new") == Command("E", "old", "new")
    assert command("-F") == Command("F")
    with pytest.raises(RuleSyntaxError, match="Illegal option `--source'"):
        command("-F INPUT -s 1.2.3.4")


def test_a_formatter_knows_parts_apart_that_came_and_went() -> None:
    formatter = RuleFormatter(V4)
    for port in range(1, 300):
        line = f"-A INPUT -p tcp -m tcp --dport {port} -j MARK --set-xmark {port:#x}/0xff"
        made = command(line, table="mangle")
        assert formatter.line(made.rules[0], made.chain) == line
