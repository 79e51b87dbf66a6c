"""Commands on a table, and libiptc's refusals."""

from __future__ import annotations

import pytest

from bpfilter.errors import RuleError, SourceError, TableError
from bpfilter.rules.draft import Command
from bpfilter.rules.edit import TableDraft
from bpfilter.rules.model import Counters, Family, Jump
from bpfilter.rules.options import RuleParser, format_rule
from bpfilter.rules.words import split_words

V4 = Family.IPV4


def draft(*lines: str) -> TableDraft:
    made = TableDraft("filter", V4)
    for line in lines:
        run(made, line)
    return made


def run(made: TableDraft, line: str) -> None:
    words = split_words(line, "file")
    command = RuleParser(V4, "filter", made.chains).parse_words(words)
    assert command is not None
    made.apply(command, words[0].span)


def rules(made: TableDraft, chain: str = "INPUT") -> list[str]:
    return [
        format_rule(rule, chain, V4).removeprefix(f"-A {chain} ")
        for rule in made.chain(chain).rules
    ]


def test_insert() -> None:
    made = draft("-A INPUT -p 1", "-I INPUT -p 2", "-I INPUT 2 -p 3", "-I INPUT 4 -p 4")
    assert rules(made) == ["-p 2", "-p 3", "-p icmp", "-p 4"]


def test_several_rules_are_inserted_at_one_place() -> None:
    made = draft("-I INPUT -s 1.1.1.1,2.2.2.2")
    assert rules(made) == ["-s 2.2.2.2/32", "-s 1.1.1.1/32"]


def test_delete_replace_check() -> None:
    made = draft("-A INPUT -p 1", "-A INPUT -p 2", "-A INPUT -p 1")
    run(made, "-D INPUT -p icmp")
    assert rules(made) == ["-p 2", "-p icmp"]
    run(made, "-C INPUT -p icmp")
    run(made, "-R INPUT 1 -p 6")
    run(made, "-D INPUT 2")
    assert rules(made) == ["-p tcp"]


def test_chains() -> None:
    made = draft("-N a", "-A INPUT -j a", "-A a -g a", "-E a b")
    assert made.chain("INPUT").rules[0].target == Jump("b")
    assert made.chain("b").rules[0].target == Jump("b", goto=True)
    run(made, "-F")
    run(made, "-X")
    assert list(made.chains) == ["INPUT", "FORWARD", "OUTPUT"]


def test_zero_and_policy() -> None:
    made = draft("-A INPUT -c 1 2", "-P INPUT DROP")
    made.chain("INPUT").counters = Counters(3, 4)
    run(made, "-Z INPUT")
    assert made.chain("INPUT").counters == Counters()
    assert made.chain("INPUT").rules[0].counters == Counters()
    assert made.chain("INPUT").policy == "DROP"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-I INPUT 3", "Index of insertion too big"),
        ("-D INPUT 2", "Index of deletion too big"),
        ("-R INPUT 2 -p 1", "Index of replacement too big"),
        ("-D INPUT -p 2", "does a matching rule exist"),
        ("-C INPUT -p 2", "does a matching rule exist"),
        ("-A INPUT -j OUTPUT", "`OUTPUT' is a built-in chain"),
        ("-I INPUT -g INPUT", "`INPUT' is a built-in chain"),
        ("-A nosuch", "No chain/target/match by that name"),
        ("-F nosuch", "No chain/target/match by that name"),
        ("-N a", "Chain already exists"),
        ("-N ACCEPT", "clash|already"),
        ("-N LOG", "may not clash with target name"),
        ("-N !x", "not allowed to start with `!'"),
        ("-E a INPUT", "File exists"),
        ("-E INPUT b", "Can't rename built-in chain"),
        ("-X INPUT", "Can't delete built-in chain"),
        ("-X a", "references left"),
        ("-X full", "Directory not empty"),
        ("-P a DROP", "Bad built-in chain name"),
        ("-P INPUT REJECT", "Bad policy name"),
        ("-S", "cannot be used in a ruleset"),
    ],
)
def test_refusals_change_nothing(line: str, message: str) -> None:
    made = draft("-N a", "-N full", "-A full", "-A INPUT -j a")
    before = made.table()
    with pytest.raises(SourceError, match=message) as caught:
        run(made, line)
    assert made.table() == before
    assert caught.value.span is not None


def test_draft_of_a_table_is_that_table() -> None:
    table = draft("-N a", "-A a -p 1", "-A INPUT -j a", "-P INPUT DROP").table()
    assert TableDraft.of(table, V4).table() == table


def test_long_chain_name() -> None:
    made = draft()
    made.add_chain("x" * 28)
    with pytest.raises(RuleError, match="28 chars max"):
        made.add_chain("x" * 29)


def test_an_empty_name_is_not_all_chains() -> None:
    made = draft("-A INPUT", "-N own")
    for line in ('-F ""', '-Z ""', '-X ""'):
        with pytest.raises(TableError, match="No chain/target/match by that name"):
            run(made, line)
    assert rules(made) == ["-A INPUT"]
    assert "own" in made.chains


@pytest.mark.parametrize("name", ["-x", "!x", "REJECT", "DROP", "", "x" * 29, "a\vb"])
def test_a_chain_gets_no_name_that_a_new_one_could_not_have(name: str) -> None:
    made = draft("-N own")
    for command in (Command("N", name), Command("E", "own", name)):
        with pytest.raises(RuleError):
            made.apply(command)
    assert "own" in made.chains


def test_names_that_no_saved_line_could_name() -> None:
    made = draft()
    with pytest.raises(RuleError, match="it has a quote"):
        made.add_chain('a"b')
    for word in ('-i "a b"', '-i "a\\"b"', '-o "a\tb"', '-m physdev --physdev-in "x -j DROP"'):
        with pytest.raises(RuleError, match="has a blank or a quote"):
            run(made, f"-A FORWARD {word}")
