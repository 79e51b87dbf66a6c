"""Faults of a whole ruleset, as made by a program rather than read from text."""

from __future__ import annotations

import pytest

from bpfilter.rules.check import check_ruleset, is_unconditional
from bpfilter.rules.model import (
    Chain,
    Family,
    Interface,
    Jump,
    Rule,
    Ruleset,
    Table,
    Target,
    Verdict,
)


def jumps(*targets: Target) -> tuple[Rule, ...]:
    return tuple(Rule(target=target) for target in targets)


def ruleset(*own: Chain, first: tuple[Rule, ...] = ()) -> Ruleset:
    base = (
        Chain("INPUT", first, "ACCEPT"),
        Chain("FORWARD", (), "DROP"),
        Chain("OUTPUT", (), "ACCEPT"),
    )
    return Ruleset(Family.IPV4, (Table("filter", base + own),))


def faults(made: Ruleset) -> list[str]:
    return [str(error) for error in check_ruleset(made)]


def test_nothing_wrong() -> None:
    made = ruleset(Chain("a", jumps(Verdict("DROP"))), first=jumps(Jump("a"), Jump("a")))
    assert faults(made) == []


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Ruleset(Family.IPV4, (Table("nosuch"),)), ["unable to initialize table 'nosuch'"]),
        (Ruleset(Family.IPV4, (Table("raw", (Chain("OUTPUT", (), "DROP"),)),)),
         ["table 'raw' has no chain `PREROUTING'"]),
        (ruleset(Chain("a"), Chain("a")), ["error creating chain 'a': Chain already exists"]),
        (ruleset(Chain("RETURN")), ["error creating chain 'RETURN': Chain already exists"]),
        (ruleset(Chain("x" * 29)), [f"Invalid chain name `{'x' * 29}' (28 chars max)"]),
        (ruleset(Chain("")), ["Invalid chain name `' (28 chars max)"]),
        (ruleset(Chain("a", (), "DROP")),
         ["Can't set policy `DROP' on `a': Bad built-in chain name"]),
        (ruleset(first=jumps(Jump("x"))), ["Couldn't load target `x' (no such chain)"]),
        (ruleset(first=jumps(Jump("OUTPUT"))),
         ["Invalid target name: `OUTPUT' is a built-in chain"]),
    ],
)  # fmt: skip
def test_each_fault(made: Ruleset, expected: list[str]) -> None:
    assert faults(made) == expected


def test_all_faults_at_once() -> None:
    made = ruleset(Chain("x" * 29), Chain("a", (), "DROP"), first=jumps(Jump("b"), Jump("c")))
    assert len(faults(made)) == 4


@pytest.mark.parametrize("goto", [False, True])
def test_loop(goto: bool) -> None:
    made = ruleset(Chain("a", jumps(Jump("b", goto))), Chain("b", jumps(Jump("a", goto))))
    assert faults(made) == []  # no hook comes here
    looping = ruleset(*made.tables[0].chains[3:], first=jumps(Jump("a", goto)))
    assert faults(looping) == ["this jump makes a loop: a → b → a"]


def test_loop_of_one() -> None:
    assert faults(ruleset(Chain("a", jumps(Jump("a"))), first=jumps(Jump("a")))) == [
        "this jump makes a loop: a → a"
    ]


# The kernel's walk ends at a verdict without a condition, so a loop after it is no loop.
def test_unreachable_loop() -> None:
    dead = Chain("a", jumps(Verdict("RETURN"), Jump("a")))
    assert faults(ruleset(dead, first=jumps(Jump("a")))) == []
    conditional = Rule(in_interface=Interface("lo"), target=Verdict("RETURN"))
    alive = Chain("a", (conditional, Rule(target=Jump("a"))))
    assert len(faults(ruleset(alive, first=jumps(Jump("a"))))) == 1


def test_diamonds_are_walked_once() -> None:
    chains = [Chain(f"c{i}", jumps(Jump(f"c{i + 1}"), Jump(f"c{i + 1}"))) for i in range(60)]
    assert faults(ruleset(*chains, Chain("c60"), first=jumps(Jump("c0")))) == []


def test_unconditional() -> None:
    assert is_unconditional(Rule(target=Verdict("DROP")))
    assert not is_unconditional(Rule(fragment=False))
    assert not is_unconditional(Rule(out_interface=Interface("lo")))
