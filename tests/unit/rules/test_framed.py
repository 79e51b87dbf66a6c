"""Lines written and listed by frames: what write_table and list_table make of their rules."""

from __future__ import annotations

import random

import pytest

from bpfilter.dataclass import replace
from bpfilter.rules.framed import FramedTable
from bpfilter.rules.listing import Columns, Form, list_table
from bpfilter.rules.model import Chain, Counters, Family, Rule, Table
from bpfilter.rules.names import Names
from bpfilter.rules.saved import parse_saved
from bpfilter.rules.written import Written, write_table
from tests.harness.rules_gen import Knobs, random_ruleset
from tests.unit.rules.bulk_support import filter_table

V4, V6 = Family.IPV4, Family.IPV6
COUNTS = (0, 0, 1, 99999, 100000, 123456789, 1 << 63)


class OtherNames(Names):
    """Names for some numbers, all of them wrong."""

    numeric = False
    any_interface = "any"

    def host(self, value: bytes) -> str:
        return "host.example" if value[-1] % 2 else super().host(value)

    def service(self, port: int, protocol: str) -> str:
        return f"{protocol}-{port}" if port % 2 else str(port)

    def protocol(self, number: int) -> str:
        return f"p{number}"


FORMS = (
    Form(),
    Form(exact=True, line_numbers=True),
    Form(verbose=False, line_numbers=True),
    Form(names=OtherNames()),
    Form(verbose=False, names=OtherNames()),
)

USUAL = [
    "-s 10.1.2.#/32 -p udp -m udp --dport 53 -j DROP",
    "! -s 10.0.0.0/8 -d 10.1.#.0/24 -i lo -p tcp -m tcp --sport 1:1023 ! --dport 80 -j user",
    "-p tcp -m tcp --sport # --dport 1000:10# -g user",
    '-m comment --comment "two words #" -g user',
    "-m comment --comment one-word-# -j ACCEPT",
    '-p sctp -m comment --comment "{#}" -m sctp ! --dport # -j DROP',
]
#: Others that are put right, but need no rule each.
OTHERS = [
    "-s 10.1.2.# -p udp -m udp --dport 53 -j DROP",
    "-s 10.1.2.#/32 -p udp --dport 53 -j DROP",
    "-p tcp -s 10.1.2.#/32 -d 10.#.0.0/16 --dport 22 -j DROP",
    "-s 10.1.2.#/32 -j REJECT",
]
ODD = [
    "-s 10.1.2.#/8 -p udp -m udp --dport 53 -j DROP",
    "-s 10.1.2.#/32 -p udp -m udp --dport 53:53 -j DROP",
    "-p tcp --dport 0x#",
    "-p tcp --dport 0:65535",
    "-s 0.0.0.0/0 -d 0.0.0.0/32",
    '-m comment --comment "one-word" -j ACCEPT',
    "-m comment --comment two+words -j ACCEPT",
    '-m comment --comment "it\'s -s 10.0.0.#/32" -j ACCEPT',
    '--source 10.0.0.#/32 -m comment --comment "it\'s -s 10.0.0.#/32" -j ACCEPT',
    '-m comment --comment "a -d 10.0.0.#/32" -m comment --comment "b -j user"',
    "-m comment --comment a# -m comment --comment b#",
    '-m comment --comment ""',
    '-m comment --comment "!"',
    '-m comment --comment "Grüße #" -j user',
    '-j LOG --log-prefix " -j user"',
    "-m tcp -p tcp --sport 5:5 --tcp-flags ALL NONE --jump user",
    "-p tcp -m multiport --dports #,22 -j DROP",
]
SIX = [
    "-s 2001:db8::#/128 -d fe80::/10 -j DROP",
    "-s 2001:DB8::#/128 -j DROP",
    "-s 2001:db8:0::# -j user",
    "-s ::ffff:10.0.0.#/128 -j user",
    "-s ::/64 -d 2001:db8::#/64",
    "-p all -s ::1/128 -j DROP",
    "-p icmpv6 -m icmp6 --icmpv6-type # -g user",
]


def same(text: str, family: Family = V4) -> FramedTable:
    """Compare all that is written and listed of a text; gives what wrote it."""
    table = parse_saved(text, "file", family).table("filter")
    assert table is not None
    lines = [line for line in text.split("\n") if line.startswith("-")]
    rng = random.Random(1)
    counts = [rng.choice(COUNTS) for _ in range(2 * len(lines))]
    table = counted(table, text, counts)
    chains = [replace(chain, rules=()) for chain in table.chains]
    framed = FramedTable("filter", family, chains, lines, counts)
    for counters in (False, True):
        assert plain(framed.written(counters)) == plain(write_table(table, family, counters))
    for form in FORMS:
        assert framed.listed(form) == list_table(table, family, form=form)
        for chain in table.chains[-2:]:
            alone = list_table(table, family, chain.name, form=form)
            assert framed.listed(form, chain.name) == alone
            second = list_table(table, family, chain.name, 2, form=form)
            assert framed.listed(form, chain.name, 2) == second
    return framed


def counted(table: Table, text: str, counts: list[int]) -> Table:
    """Give the rules the counters of their lines."""
    numbers = [n for n, line in enumerate(text.split("\n"), 1) if line.startswith("-")]

    def with_counts(rule: Rule) -> Rule:
        assert rule.span is not None
        at = 2 * numbers.index(rule.span.line)
        return replace(rule, counters=Counters(*counts[at : at + 2]))

    def with_all(chain: Chain) -> Chain:
        return replace(chain, rules=tuple(map(with_counts, chain.rules)))

    return replace(table, chains=tuple(map(with_all, table.chains)))


def plain(chains: list[Written]) -> list[tuple[str, list[str], list[int]]]:
    return [(each.chain.name, each.lines, list(each.counters)) for each in chains]


def several(words: str, times: int = 12) -> list[str]:
    return [words.replace("#", str(number)) for number in range(10, 10 + times)]


def texts(rng: random.Random, parts: list[str]) -> str:
    """Give a text of which every part is in several chains, which lie anyhow."""
    chains = ("a", "b", "INPUT", "FORWARD")
    words = [words for part in parts for words in several(part)]
    rng.shuffle(words)
    targets = ("odd+", "user")
    lines = []
    for each in words:
        if "user" in each:
            lines.append(f"-A {rng.choice(chains)} {each.replace('user', rng.choice(targets))}")
        else:
            lines.append(f"-A {rng.choice(chains + targets)} {each}")
    return filter_table(*lines, chains=("a", "b", "user", "odd+"))


@pytest.mark.parametrize("words", USUAL + OTHERS + ODD)
def test_each(words: str) -> None:
    same(filter_table(*(f"-A own {each}" for each in several(words)), chains=("own", "user")))
    same(filter_table(*(f"-A INPUT {each}" for each in several(words)), chains=("user",)))
    same(filter_table(f"-A INPUT {words.replace('#', '17')}", chains=("user",)))


@pytest.mark.parametrize("words", SIX)
def test_each_of_ipv6(words: str) -> None:
    same(filter_table(*(f"-A own {each}" for each in several(words)), chains=("own", "user")), V6)


def test_none() -> None:
    same(filter_table())
    same(filter_table("-A INPUT", "-A INPUT", "-A own", chains=("own",)))


def test_lines_spelt_in_other_ways() -> None:
    spelt = ("--append INPUT -j DROP", "-A  INPUT -j DROP", "-A\tINPUT -j own", '-A "own"')
    same(filter_table(*spelt, "-A INPUT -s 1.1.1.1/32", chains=("own",)))


@pytest.mark.parametrize("seed", range(20))
def test_mixtures(seed: int) -> None:
    rng = random.Random(seed)
    same(texts(rng, rng.choices(USUAL + OTHERS + ODD, k=8)))
    same(texts(rng, rng.choices([*SIX, *USUAL[2:]], k=8)), V6)


@pytest.mark.parametrize("seed", range(40))
def test_random_rulesets(seed: int) -> None:
    rng = random.Random(seed)
    version = rng.choice((4, 6))
    knobs = Knobs(most_rules=40).themed(rng, version)
    same(random_ruleset(rng, version, knobs), V4 if version == 4 else V6)


@pytest.mark.parametrize("words", USUAL + OTHERS)
def test_few_rules_are_read(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"-A own {each}" for each in several(words, 100)]
    framed = same(filter_table(*lines, chains=("own", "user")))
    read = 0

    def counting(line: str) -> tuple[str, Rule]:
        nonlocal read
        read += 1
        return FramedTable._read(framed, line)

    monkeypatch.setattr(framed, "_read", counting)
    framed.written(counters=True)
    framed.listed(Form())
    assert read <= 8


def test_no_such_chain() -> None:
    with pytest.raises(KeyError):
        same(filter_table()).listed(Form(), "own")


def test_columns_hold_what_is_longer_than_they() -> None:
    columns = Columns(V4, Form())
    assert columns.count(1, 12345678, 1 << 63) == "  12M 9223372T "


def test_control_characters_are_no_holes() -> None:
    comments = (
        f"-A INPUT -m comment --comment a{chr(code)}" for code in (*range(1, 9), 14, 15, 27)
    )
    same(filter_table(*comments, "-A INPUT -s 1.1.1.1/32", "-A INPUT -s 1.1.1.2/32"))
