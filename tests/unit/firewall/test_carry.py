"""Counters carried from one ruleset to the next: the same as if all rules were compared."""

from __future__ import annotations

from array import array
from collections import defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter import Family, parse_saved
from bpfilter.firewall.carry import Kept, carry
from bpfilter.firewall.counters import PAIR_BYTES, pack, unpack
from bpfilter.firewall.lines import Lines, encode
from bpfilter.firewall.traits import trait
from bpfilter.rules.model import Chain, Rule

HEAD = b"*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
V4 = Family.IPV4


def lines(*rules: str) -> Lines:
    return Lines.of(HEAD, encode("".join(f"{rule}\n" for rule in rules)))


def numbers(count: int, first: int = 1) -> bytes:
    return b"".join(pack([n, 10 * n]) for n in range(first, first + count))


def carried(old: Lines, new: Lines) -> list[int]:
    """Give packets by line: 1, 2, … were the old ones', 0 is new."""
    values, nothing = numbers(len(old.rules())), bytes(PAIR_BYTES * len(new.rules()))
    made = carry(Kept(old), Kept(new), values, nothing, V4)
    traits = [array("Q", [trait(*each) for each in _in_lines(lines)]) for lines in (old, new)]
    assert carry(Kept(old, traits[0]), Kept(new, traits[1]), values, nothing, V4) == made
    packets, octets = unpack(made)[::2].tolist(), unpack(made)[1::2].tolist()
    assert octets == [10 * count for count in packets]
    return packets


def compared(old: Lines, new: Lines) -> list[int]:
    """The definition: all rules by chain and meaning, each with the first that is equal."""
    kept: dict[tuple[str, Rule], deque[int]] = defaultdict(deque)
    for number, key in enumerate(_in_lines(old), 1):
        kept[key].append(number)
    return [kept[key].popleft() if kept[key] else 0 for key in _in_lines(new)]


def _in_lines(text: Lines) -> list[tuple[str, Rule]]:
    table = parse_saved(text.text, "test", V4).table("filter")
    assert table is not None
    found: list[tuple[int, Chain, Rule]] = []
    for chain in table.chains:
        for rule in chain.rules:
            assert rule.span is not None
            found.append((rule.span.line, chain, rule))
    return [(chain.name, rule) for _, chain, rule in sorted(found, key=lambda each: each[0])]


def test_rules_that_stay_keep_theirs() -> None:
    old = lines("-A INPUT -s 1.1.1.1/32 -j DROP", "-A INPUT -s 2.2.2.2/32 -j DROP", "-A own")
    new = lines("-A INPUT -s 2.2.2.2/32 -j DROP", "-A INPUT -s 3.3.3.3/32 -j DROP", "-A own")
    assert carried(old, new) == [2, 0, 3]
    assert carried(old, old) == [1, 2, 3]
    assert carried(lines(), new) == [0, 0, 0]
    assert carried(old, lines()) == []


def test_a_rule_in_another_chain_is_another_rule() -> None:
    assert carried(lines("-A INPUT -s 1.1.1.1/32"), lines("-A own -s 1.1.1.1/32")) == [0]


def test_equal_rules_keep_theirs_in_order() -> None:
    rule, other = "-A own", "-A own -s 1.1.1.1/32"
    assert carried(lines(rule, other, rule), lines(rule, rule, rule)) == [1, 3, 0]
    # The first went: the second has its place, though all behind it stayed the same.
    assert carried(lines(rule, other, rule), lines(other, rule)) == [2, 1]
    # One more came before: the last one of three has none.
    assert carried(lines(other, rule, rule), lines(rule, other, rule, rule)) == [2, 1, 3, 0]


@pytest.mark.parametrize("many", [1, 20])
def test_lines_that_shift_among_many(many: int) -> None:
    old = [f"-A own -s 10.0.0.{n}/32" for n in range(many)]
    new = [f"-A own -d 10.0.0.{n}/32" for n in range(many)]
    both = ["-A own -i lo", "-A own -i lo"]
    assert carried(lines(both[0], *old, *both), lines(*new, *both)) == [0] * many + [1, many + 2]


def test_other_spellings_of_a_rule_are_the_same_rule() -> None:
    old = lines("-A INPUT -s 10.1.2.3/8 -p 6 --dport http -j DROP", "-A own -s 1.1.1.1")
    new = lines("-A own -s 1.1.1.1/32", "-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j DROP")
    assert carried(old, new) == [2, 1]
    assert carried(new, old) == [2, 1]


def test_lines_that_cannot_be_read_are_new() -> None:
    old, new = lines("-A own -m gone", "-A own -j own"), lines("-A own -s 1.1.1.1/32")
    assert carry(Kept(old), Kept(new), numbers(2), bytes(PAIR_BYTES), V4) == bytes(PAIR_BYTES)


def test_new_rules_take_what_is_written() -> None:
    old, new = (
        lines("-A own", "-A INPUT"),
        lines("-A own -i lo", "-A own", "-A own -o lo", "-A INPUT"),
    )
    made = carry(Kept(old), Kept(new), numbers(2), numbers(4, first=50), V4)
    assert unpack(made)[::2].tolist() == [50, 1, 52, 2]


RULES = st.lists(
    st.sampled_from(
        [f"-A {chain}{rest}" for chain in ("INPUT", "own") for rest in ("", " -i lo", " -p tcp")]
    ),
    max_size=12,
)


@given(RULES, RULES, RULES, RULES)
def test_as_if_all_rules_were_compared(
    start: list[str], gone: list[str], come: list[str], end: list[str]
) -> None:
    old, new = lines(*start, *gone, *end), lines(*start, *come, *end)
    assert carried(old, new) == compared(old, new)


SPELT = [
    ("-A INPUT -s 10.0.0.0/8 -j DROP", "-A INPUT -s 10.1.2.3/8 -j DROP"),
    ("-A INPUT -p tcp -j DROP", "-A INPUT -p 6 -j DROP"),
    ("-A own -s 1.1.1.1/32", "-A own --source 1.1.1.1"),
    ("-A own -s 1.1.1.2/32", "--src 1.1.1.2 -A own"),
]


@given(
    *(2 * [st.permutations(range(4)).flatmap(lambda p: st.integers(0, 4).map(lambda n: p[:n]))]),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_spellings_as_if_all_rules_were_compared(
    old: list[int], new: list[int], spelt: list[bool]
) -> None:
    before = lines(*(SPELT[n][spelt[n]] for n in old))
    after = lines(*(SPELT[n][spelt[4 + n]] for n in new))
    assert carried(before, after) == compared(before, after)
