"""Commands on the lines of a table: as on its rules, and every line knows where it was."""

from __future__ import annotations

import random

import pytest

from bpfilter.errors import SourceError
from bpfilter.firewall.revision import NEW, LinesDraft
from bpfilter.rules.edit import TableDraft
from bpfilter.rules.model import Family
from bpfilter.rules.options import RuleParser, format_rule
from bpfilter.rules.words import split_words
from tests.harness.iptables_commands import Drawn

V4 = Family.IPV4
POLICIES = {"INPUT": "ACCEPT", "FORWARD": "DROP", "OUTPUT": "ACCEPT"}


def in_force(*lines: str, chains: tuple[str, ...] = ("one", "two")) -> LinesDraft:
    names = (*POLICIES, *chains)
    return LinesDraft.of(V4, POLICIES, names, zip(lines, range(len(lines)), strict=True))


def do(draft: LinesDraft | TableDraft, *lines: str) -> None:
    for line in lines:
        parser = RuleParser(V4, "filter", draft.chains)
        command = parser.parse_words(split_words(line))
        assert command is not None
        draft.apply(command)


def shown(draft: TableDraft) -> list[str]:
    table = draft.table()
    return [format_rule(rule, chain.name, V4) for chain in table.chains for rule in chain.rules]


@pytest.mark.parametrize("seed", range(60))
def test_as_on_rules(seed: int) -> None:
    drawn = Drawn(seed, "iptables")
    rules = TableDraft("filter", V4)
    lines = LinesDraft(V4)
    for _ in range(60):
        command = " ".join(f'"{word}"' if " " in word else word for word in drawn.command())
        said: list[str] = []
        for draft in (rules, lines):
            try:
                do(draft, command)
                said.append("")
            except SourceError as error:
                said.append(error.message)
        assert said[0] == said[1], command
    revision = lines.revision()
    assert [line.decode() for line in revision.lines.rules()] == shown(rules)
    assert set(revision.origin) <= {NEW}


def patched(old: list[bytes], draft: LinesDraft) -> list[bytes]:
    """Give what the hunks of a revision make of the lines before."""
    hunks = draft.revision().hunks(old, 1000)
    assert hunks is not None
    made: list[bytes] = []
    at = 0
    for hunk in hunks:
        made += old[at : hunk.old]
        assert hunk.new == len(made)
        assert hunk.offset == sum(len(line) + 1 for line in made)
        assert hunk.gone == old[hunk.old : hunk.old + len(hunk.gone)]
        made += hunk.come
        at = hunk.old + len(hunk.gone)
    return made + old[at:]


@pytest.mark.parametrize("seed", range(60))
def test_hunks_make_the_new_lines(seed: int) -> None:
    rng = random.Random(seed)
    chains = ["INPUT", "OUTPUT", "one", "two"]
    old = [f"-A {chain} -p {number}" for chain in chains for number in range(rng.randrange(1, 8))]
    draft = in_force(*old)
    for number in range(rng.randrange(1, 9)):
        chain = draft.chains[rng.choice(chains)]
        name, size = chain.name, len(chain.rules)
        if rng.random() < 0.4 and size:
            do(draft, f"-D {name} {rng.randrange(size) + 1}")
        elif rng.random() < 0.3 and size:
            do(draft, f"-R {name} {rng.randrange(size) + 1} -p 77")
        else:
            do(draft, f"-I {name} {rng.randrange(size + 1) + 1} -p {100 + number}")
    text = [line.encode() for line in old]
    assert patched(text, draft) == draft.revision().lines.rules()


def test_a_rule_that_takes_the_place_of_its_equal_is_new() -> None:
    draft = in_force("-A INPUT -p 201", "-A INPUT -p 202")
    do(draft, "-R INPUT 1 -p 201")
    revision = draft.revision()
    assert list(revision.origin) == [NEW, 1]
    hunks = revision.hunks([b"-A INPUT -p 201", b"-A INPUT -p 202"], 10)
    assert hunks is not None
    (hunk,) = hunks
    assert (hunk.old, hunk.gone, hunk.come) == (0, [b"-A INPUT -p 201"], [b"-A INPUT -p 201"])


def test_the_first_of_two_equals_goes() -> None:
    draft = in_force("-A INPUT -p 201", "-A INPUT -p 202", "-A INPUT -p 201")
    do(draft, "-D INPUT -p 201")
    assert list(draft.revision().origin) == [1, 2]


def test_a_chain_renamed_takes_its_rules_and_their_counters_along() -> None:
    draft = in_force("-A INPUT -j one", "-A INPUT -g one", "-A one -j two", "-A two -p 201")
    do(draft, "-E one zebra")
    revision = draft.revision()
    assert revision.lines.rules() == [
        b"-A INPUT -j zebra", b"-A INPUT -g zebra", b"-A two -p 201", b"-A zebra -j two",
    ]  # fmt: skip
    assert list(revision.origin) == [0, 1, 3, 2]
    assert revision.hunks([b"x"] * 4, 100) is None  # not in the order they were


def test_policies_begin_anew_where_they_are_set() -> None:
    draft = in_force()
    assert draft.revision().policies == {}
    do(draft, "-P FORWARD DROP", "-P INPUT DROP -c 7 99")
    revision = draft.revision()
    assert revision.policies == {0: (7, 99), 1: (0, 0)}
    assert b":INPUT DROP [7:99]\n:FORWARD DROP [0:0]\n" in revision.text()


def test_new_rules_begin_with_what_is_written() -> None:
    draft = in_force("-A INPUT -p 201")
    do(draft, "-A INPUT -p 202 -c 3 40")
    revision = draft.revision()
    assert revision.begins == {1: (3, 40)}
    assert revision.text().endswith(b"-A INPUT -p 201\n[3:40] -A INPUT -p 202\nCOMMIT\n")


def test_what_ends_like_a_jump_is_none() -> None:
    draft = in_force('-A INPUT -m comment --comment "-j one"', chains=("one",))
    do(draft, "-X one")
    assert "one" not in draft.chains
