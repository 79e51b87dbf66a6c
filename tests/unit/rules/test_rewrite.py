"""Lines of large tables: taken from the text if they are as iptables-save writes them, or written.

That they are the same as those written of rules is asserted by `read_both`, of every text.
"""

from __future__ import annotations

import random

import pytest

from bpfilter.rules import rewrite
from bpfilter.rules.columns import BulkTable
from bpfilter.rules.expand import expand_rows
from bpfilter.rules.lexing import Places
from bpfilter.rules.model import Family, Rule
from bpfilter.rules.rewrite import write_columns
from bpfilter.rules.shapes import Shape
from tests.unit.rules.bulk_support import filter_table, read_both

V4, V6 = Family.IPV4, Family.IPV6

USUAL = [
    "-s 10.1.2.3/32 -p udp -m udp --dport 53 -j DROP",
    "! -s 10.0.0.0/8 -d 10.1.2.0/24 -i lo -p tcp -m tcp --sport 1:1023 ! --dport 80 -j user",
    '-m comment --comment "two words" -g user',
    "-m comment --comment one-word -j ACCEPT",
]
UNUSUAL = [
    "-s 10.1.2.3 -p udp -m udp --dport 53 -j DROP",
    "-s 10.1.2.3/8 -p udp -m udp --dport 53 -j DROP",
    "-s 10.1.2.3/32 -p udp -m udp --dport 53:53 -j DROP",
    "-s 10.1.2.3/32 -p udp --dport 53 -j DROP",
    "-p tcp -s 10.1.2.3/32 -j DROP",
    '-m comment --comment "one-word" -j ACCEPT',
    "-m comment --comment two+words -j ACCEPT",
    '-m comment --comment "it\'s" -j ACCEPT',
    '-m comment --comment "" -j ACCEPT',
    "-j REJECT",
]
UNUSUAL6 = ["-s 2001:DB8::1/128 -j DROP", "-s 2001:db8:0::1/128 -j DROP", "-s ::1 -j DROP"]


def written(monkeypatch: pytest.MonkeyPatch, text: str, family: Family = V4) -> int:
    """Write the rules of a text; gives how many were made for it."""
    made = 0

    def counting(table: BulkTable, shape: Shape, rows: Places, texts: list[str]) -> list[Rule]:
        nonlocal made
        made += len(rows)
        return expand_rows(table, shape, rows, texts)

    tables = read_both(text, family)
    assert tables is not None
    with monkeypatch.context() as patched:
        patched.setattr(rewrite, "expand_rows", counting)
        write_columns(tables["filter"])
    return made


@pytest.mark.parametrize("words", USUAL)
def test_usual_lines_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    lines = [f"-A user {words.replace('.3/', f'.{n}/')}" for n in range(100)]
    text = filter_table(*(line.replace("user ", "a ", 1) for line in lines), chains=("a", "user"))
    assert written(monkeypatch, text) == 1
    lines = [line.replace("-j user", "-j DROP").replace("-g user", "-j DROP") for line in lines]
    assert written(monkeypatch, filter_table(*lines, chains=("user",))) == 1


@pytest.mark.parametrize("words", UNUSUAL)
def test_others_are_written(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    assert written(monkeypatch, filter_table(*[f"-A INPUT {words}"] * 100)) >= 100


@pytest.mark.parametrize("words", UNUSUAL6)
def test_others_are_written_for_ipv6(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    usual = [f"-A INPUT -s 2001:db8::{n:x}/128 -j DROP" for n in range(1, 100)]
    text = filter_table(*usual, *[f"-A INPUT {words}"] * 10)
    assert 10 <= written(monkeypatch, text, V6) <= 12


def test_mixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    for _ in range(20):
        words = rng.choices(USUAL[:1] + USUAL[2:] + UNUSUAL, k=60)
        lines = [f"-A {rng.choice(('a', 'b', 'INPUT'))} {each}" for each in words]
        unusual = sum(each in UNUSUAL for each in words)
        made = written(monkeypatch, filter_table(*lines, chains=("user", "a", "b")))
        assert made >= unusual
