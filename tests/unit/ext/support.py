"""Reading one rule in a test, and deciding it on packet fields given by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bpfilter.plan.fields import FIELDS
from bpfilter.plan.nodes import All, Any, Contains, Guard, Not, Predicate, Test
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.options import format_rule, parse_rule
from bpfilter.rules.registry import Context
from bpfilter.rules.words import split_words

V4, V6 = Family.IPV4, Family.IPV6

#: Fields by name: a number, or one for each word; the numbers of a list.
Values = Mapping[str, int | Sequence[int]]


class Outcome(Enum):
    """What a rule does with a packet, as ipt_do_table sees it."""

    MATCH = "match"
    MISS = "miss"
    DROP = "drop"  # at once, not counted
    MATCH_DROP = "match, then drop"
    MISS_DROP = "miss, then drop"


@dataclass(frozen=True)
class Spelling:
    """A line of the table of spellings; `accepted` is the answer of iptables 1.8.11."""

    extension: str
    family: Family
    accepted: bool
    words: str

    def __str__(self) -> str:
        return f"{self.family.command} {self.words}"


def read_spellings(name: str) -> list[Spelling]:
    """Read a table beside this module."""
    lines = Path(__file__).with_name(name).read_text().splitlines()
    made = []
    for line in lines:
        if line and not line.startswith("#"):
            extension, family, sign, words = line.split(" ", 3)
            version = V4 if family == "4" else V6
            made.append(Spelling(extension, version, sign == "+", words))
    return made


def parse(words: str, family: Family = V4) -> Rule:
    return parse_rule(split_words(f"-A INPUT {words}", "rules"), Context(family))[1]


def saved(words: str, family: Family = V4) -> str:
    """Give the rule as iptables-save would print it, without `-A INPUT`."""
    return format_rule(parse(words, family), "INPUT", family).removeprefix("-A INPUT ")


def match(words: str, family: Family = V4) -> Match:
    """Give the last match of a rule."""
    return parse(words, family).matches[-1]


def listed(words: str, family: Family = V4) -> str:
    return match(words, family).describe(family)


def decide(words: str, values: Values | None = None, family: Family = V4) -> Outcome:
    """Decide the last match of a rule on fields; those not named are 0."""
    rule = parse(words, family)
    return outcome(rule.matches[-1].predicate(family, rule), values or {})


def outcome(predicate: Predicate, values: Values) -> Outcome:
    decision = _Decision(values)
    try:
        answer = decision.ask(predicate)
    except _Guarded as guarded:
        return guarded.outcome
    if decision.doomed:
        return Outcome.MATCH_DROP if answer else Outcome.MISS_DROP
    return Outcome.MATCH if answer else Outcome.MISS


class _Guarded(Exception):
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class _Decision:
    def __init__(self, values: Values) -> None:
        assert values.keys() <= FIELDS.keys()
        self.values = values
        self.doomed = False

    def ask(self, part: Predicate) -> bool:
        match part:
            case Test(field, lo, hi, mask, word):
                return lo <= self.word(field.name, word) & mask <= hi
            case Contains(field, lo, hi):
                return any(lo <= number <= hi for number in self.listed(field.name))
            case Guard(field, late):
                return self.guard(self.word(field.name, 0), late)
            case All(parts):
                return all(self.ask(inner) for inner in parts)
            case Any(parts):
                return any(self.ask(inner) for inner in parts)
            case Not(inner):
                return not self.ask(inner)

    def guard(self, value: int, late: bool) -> bool:
        if value == 1:
            raise _Guarded(Outcome.MISS_DROP if self.doomed else Outcome.MISS)
        if value == 2 and not late:
            raise _Guarded(Outcome.MISS_DROP if self.doomed else Outcome.DROP)
        self.doomed |= value == 2
        return True

    def listed(self, name: str) -> Sequence[int]:
        numbers = self.values.get(name, ())
        assert not isinstance(numbers, int)
        return numbers

    def word(self, name: str, index: int) -> int:
        value = self.values.get(name, 0)
        if isinstance(value, int):
            return value if index == 0 else 0
        return value[index]


def bits(*numbers: int) -> list[int]:
    """Give eight words with the numbered bits set, as fields of kinds and types have them."""
    words = [0] * 8
    for number in numbers:
        words[number // 32] |= 1 << (31 - number % 32)
    return words
