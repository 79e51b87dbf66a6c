"""What a text changes in rules in force: who goes, who comes, and which counter each one has."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from bpfilter import Family
from bpfilter.dataclass import replace
from bpfilter.firewall import counters
from bpfilter.firewall.carry import Kept, carry
from bpfilter.firewall.change import MOST_LINES, Change, change_of
from bpfilter.firewall.counters import FIRST_RULE, PAIR_BYTES
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.lines import END, Lines, encode
from tests.unit.firewall.test_generation import GENERATION

HEAD = b"*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
ROOM = 20


def lines(rules: list[str]) -> Lines:
    return Lines.of(HEAD, encode("".join(f"{rule}\n" for rule in rules)))


def in_force(rules: int, **changes: Any) -> Generation:
    made = replace(
        GENERATION,
        family=Family.IPV4,
        policies={"INPUT": "DROP", "FORWARD": "ACCEPT", "OUTPUT": "ACCEPT"},
        rules=rules,
        counters_per_cpu=FIRST_RULE + rules + ROOM,
        free=(),
        unused=FIRST_RULE + rules,
    )
    return replace(made, **changes)


def rule(number: int, chain: str = "INPUT") -> str:
    return f"-A {chain} -s 10.0.{number >> 8}.{number & 255}/32 -j DROP"


def change(
    old: list[str], new: list[str], order: array[int] | None = None, **changes: Any
) -> Change | None:
    return change_of(lines(new).text, in_force(len(old), **changes), lines(old), order)


def counted(rules: list[str], order: array[int] | None) -> dict[str, list[tuple[int, str]]]:
    """Give the rules of each chain, in order, with their counters."""
    numbers = order or range(FIRST_RULE, FIRST_RULE + len(rules))
    found: dict[str, list[tuple[int, str]]] = {"INPUT": [], "own": []}
    for number, line in zip(numbers, rules, strict=True):
        found[line.split()[1]].append((number, line))
    return found


def edited(old: dict[str, list[tuple[int, str]]], made: Change) -> dict[str, list[int]]:
    """Do what an editor is told to do."""
    chains = {chain: [number for number, _ in rules] for chain, rules in old.items()}
    for removed in made.removed:
        chains[removed.chain].remove(removed.counter)
    for added in made.added:
        chain = chains[added.chain]
        assert added.counter not in chain
        at = 0 if added.after is None else chain.index(added.after) + 1
        chain.insert(at, added.counter)
    return chains


@pytest.mark.parametrize("seed", range(60))
def test_an_editor_gets_from_one_to_the_other(seed: int) -> None:
    rng = random.Random(seed)
    old = [rule(n, rng.choice(["INPUT", "own"])) for n in range(200)]
    new = list(old)
    for number in range(rng.randrange(1, 6)):
        at = rng.randrange(len(new))
        match rng.randrange(4):
            case 0:
                new[at] = rule(1000 + number, rng.choice(["INPUT", "own"]))
            case 1:
                del new[at]
            case 2:
                new.insert(at, rule(1000 + number))
            case _:
                new.insert(rng.randrange(len(new)), new.pop(at))
    order = None
    if seed % 2:
        order = array("I", rng.sample(range(FIRST_RULE, FIRST_RULE + len(old)), len(old)))
    made = change(old, new, order)
    assert made is not None
    before, after = counted(old, order), counted(new, made.order)
    assert edited(before, made) == {
        chain: [number for number, _ in rules] for chain, rules in after.items()
    }
    # Rules that stay have their counters, others new ones that are nobody's.
    was = {line: number for rules in before.values() for number, line in rules}
    now = {line: number for rules in after.values() for number, line in rules}
    assert {line: was[line] for line in now.keys() & was.keys()} == {
        line: now[line] for line in now.keys() & was.keys()
    }
    assert {now[line] for line in now.keys() - was.keys()} == set(made.fresh)
    assert {was[line] for line in was.keys() - now.keys()} == set(made.free)
    assert not set(made.fresh) & set(was.values())
    assert made.unused == FIRST_RULE + len(old) + len(made.fresh)
    assert made.lines == lines(new)


def carried(old: list[str], new: list[str], order: array[int] | None) -> list[int]:
    """Give for each new line whose counter it takes over when all is compiled; 0 for nobody's."""
    numbers = order or range(FIRST_RULE, FIRST_RULE + len(old))
    values = counters.pack([part for number in numbers for part in (number, 0)])
    kept = [Kept(lines(rules)) for rules in (old, new)]
    made = carry(kept[0], kept[1], values, bytes(PAIR_BYTES * len(new)), Family.IPV4)
    return list(counters.unpack(made)[::2])


@pytest.mark.parametrize("seed", range(100))
def test_equal_rules_keep_the_counters_they_have_when_all_is_compiled(seed: int) -> None:
    rng = random.Random(seed)
    old = [rule(rng.randrange(8), rng.choice(["INPUT", "own"])) for n in range(40)]
    new = list(old)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(new))
        match rng.randrange(3):
            case 0:
                new[at] = rule(rng.randrange(8))
            case 1:
                del new[at]
            case _:
                new.insert(at, rule(rng.randrange(8)))
    order = None
    if seed % 2:
        order = array("I", rng.sample(range(FIRST_RULE, FIRST_RULE + len(old)), len(old)))
    made = change(old, new, order)
    assert made is not None
    for number, counter in zip(carried(old, new, order), made.order, strict=True):
        assert counter == number if number else counter in made.fresh
    after = counted(new, made.order)
    assert edited(counted(old, order), made) == {
        chain: [number for number, _ in rules] for chain, rules in after.items()
    }
    assert made.lines == lines(new)


def test_too_many_take_over_another_counter() -> None:
    old = [rule(1)] * 3 * MOST_LINES
    assert change(old, old[1:]) is not None, "the last one goes"
    assert change([*old, rule(2)], [rule(2), *old]) is not None
    assert change([rule(1), rule(2), *old], [rule(2), *old]) is None
    few = [rule(number) for number in range(9)]
    assert change([*few, *few], few) is not None
    made = change([*few, rule(10), *few], [rule(10), *few])
    assert made is not None
    assert len(made.added) == len(few)


TRACKS = "-A INPUT -m conntrack --ctstate NEW"


@pytest.mark.parametrize(
    ("old", "new", "is_edit"),
    [
        ([TRACKS, rule(1)], [TRACKS, rule(1), TRACKS + " -j DROP"], True),
        ([TRACKS, rule(1), TRACKS + " -j DROP"], [TRACKS, rule(1)], True),
        ([TRACKS, rule(1)], ["-A INPUT -m state --state NEW", rule(1)], True),
        ([TRACKS, "-A INPUT -m state --state NEW"], [TRACKS], False),
        ([TRACKS, rule(1)], [rule(1)], False),
        ([TRACKS, rule(1)], [rule(1), TRACKS], True),
        (
            [TRACKS, '-A INPUT -m comment --comment " -m conntrack "'],
            ['-A INPUT -m comment --comment " -m conntrack "'],
            False,
        ),
    ],
)
def test_connections_are_tracked_as_before(old: list[str], new: list[str], is_edit: bool) -> None:
    assert (change(old, new, needs_conntrack=True) is not None) == is_edit


def test_connections_that_are_not_tracked_yet() -> None:
    assert change([rule(1)], [rule(1), TRACKS], needs_conntrack=False) is None


@pytest.mark.parametrize(
    "new",
    [
        "-A INPUT -j own",
        "-A INPUT -g own",
        "-A OUTPUT -m owner --uid-owner 5",
        "-A OUTPUT -j RETURN",
    ],
)
def test_rules_that_the_editor_judges(new: str) -> None:
    made = change([rule(1)], [rule(1), new])
    assert made is not None
    assert len(made.added) == 1


def test_counters_of_rules_that_went_are_used_again() -> None:
    old, new = [rule(1), rule(2)], [rule(1), rule(3)]
    made = change(old, new, free=(FIRST_RULE + 2, FIRST_RULE + 7), unused=FIRST_RULE + 8)
    assert made is not None
    assert made.fresh == (FIRST_RULE + 2,)
    assert made.free == (FIRST_RULE + 1, FIRST_RULE + 7)
    assert made.unused == FIRST_RULE + 8
    full = FIRST_RULE + 2
    assert change(old, new, counters_per_cpu=full) is None
    assert change(old, [rule(2), rule(1)], counters_per_cpu=full), "none is needed"


def test_another_spelling_keeps_its_counter() -> None:
    made = change([rule(1)], ["-A INPUT --src 10.0.0.1 --jump DROP"])
    assert made is not None
    assert (made.fresh, made.free, list(made.order)) == ((), (), [FIRST_RULE])


def test_nothing_differs() -> None:
    made = change([rule(1)], [rule(1)])
    assert made is not None
    assert (made.removed, made.added) == ((), ())


@pytest.mark.parametrize(
    "new",
    [
        pytest.param([rule(1), rule(2), "-A gone -s 1.1.1.1"], id="no such chain"),
        pytest.param([rule(1), rule(2), "-A INPUT -j gone"], id="no such target"),
        pytest.param([rule(1), rule(2), "-A INPUT -j own -g own"], id="no rule"),
        pytest.param([rule(1), rule(2), "-A INPUT -s 1.1.1.1,2.2.2.2"], id="two rules"),
        pytest.param([rule(1), rule(2), "-I INPUT -s 1.1.1.1"], id="no -A"),
        pytest.param([rule(1), rule(2), "-s 1.1.1.1 -A INPUT"], id="-A elsewhere"),
        pytest.param([rule(1), rule(2), "-A  INPUT -s 1.1.1.1"], id="two blanks"),
        pytest.param([rule(1), rule(2), "# comment"], id="a comment"),
        pytest.param([rule(1), rule(2), "COMMIT", "*nat"], id="another table"),
        pytest.param([rule(n) for n in range(3 * MOST_LINES)], id="too many"),
    ],
)
def test_more_than_a_few_rules(new: list[str]) -> None:
    assert change([rule(1), rule(2), rule(2)], new) is None


@pytest.mark.parametrize(
    ("head", "same"),
    [
        (":INPUT DROP [5:6]\n:FORWARD ACCEPT\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n", True),
        (":own -\n", True),  # policies that are not declared stay
        (":OUTPUT -\n:own - [0:0]\n:INPUT DROP [0:0]\n", True),
        (":INPUT ACCEPT [0:0]\n:own - [0:0]\n", False),
        (":INPUT DROP [0:0]\n", False),
        (":own - [0:0]\n:more - [0:0]\n", False),
        (":own\n", False),
        (":own - [0:0]\n:own - [0:0]\n", False),
        (":own - [0:0]\n:own -\n", False),
        (":own -\n:own - [1:1]\n", False),
        (":ow - [0:0]\n", False),
        ("", False),
    ],
)
def test_chains_and_policies_have_to_be_the_same(head: str, same: bool) -> None:
    text = f"# Generated\n*filter\n{head}[1:2] {rule(1)}\nCOMMIT\n# Completed\n".encode()
    made = change_of(text, in_force(1), lines([rule(1)]), None)
    assert (made is not None) == same
    if made is not None:
        assert made.lines == lines([rule(1)])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"COMMIT\n*filter\n",
        b"*filter\n:own - [0:0]\n-A INPUT\n",
        b"*nat\nCOMMIT\n*filter\n:own - [0:0]\nCOMMIT\n",
        b"*filter\n:own - [0:0]\nCOMMIT\n*nat\nCOMMIT\n",
        b"x*filter\n:own - [0:0]\nCOMMIT\n",
        b"*filter\n:own - [0:0]\nxINPUT DROP\n-A INPUT -j DROP\nCOMMIT\n",
    ],
)
def test_what_is_no_filter_table_alone(text: bytes) -> None:
    assert change_of(text, in_force(0), Lines.of(HEAD, b""), None) is None


def test_a_kept_text_of_nothing() -> None:
    text = HEAD + END
    assert change_of(text, in_force(0), Lines.of(HEAD, b""), None) is not None
