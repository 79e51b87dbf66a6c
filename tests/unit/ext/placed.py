"""Rules at their place: some extensions are only taken in certain tables and chains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bpfilter.rules.listing import Columns, Form
from bpfilter.rules.model import Family, Rule
from bpfilter.rules.options import format_rule, parse_rule
from bpfilter.rules.registry import Context
from bpfilter.rules.words import split_words
from tests.unit.ext.support import V4, V6, Outcome, Values, outcome

FILES = ("meta_spellings.txt", "state_spellings.txt", "target_spellings.txt")


@dataclass(frozen=True)
class Place:
    """`SETNAME` in a rule is the name of an ipset of the family."""

    table: str = "filter"
    chain: str = "INPUT"
    family: Family = V4

    def words(self, words: str) -> str:
        return words.replace("SETNAME", f"bpf{self.family.value}")

    def parse(self, words: str) -> Rule:
        context = Context(self.family, self.table, self.chain)
        return parse_rule(split_words(f"-A {self.chain} {self.words(words)}", "rules"), context)[1]

    def saved(self, words: str) -> str:
        """Give the rule as iptables-save would print it, without `-A CHAIN`."""
        line = format_rule(self.parse(words), self.chain, self.family)
        return line.removeprefix(f"-A {self.chain} ")

    def listed(self, words: str) -> str:
        """Give what `iptables -nvL` shows of the rule's matches and target."""
        return Columns(self.family, Form()).description(self.parse(words)).strip()

    def decide(self, words: str, values: Values | None = None) -> Outcome:
        """Decide the last match of a rule on fields; those not named are 0."""
        rule = self.parse(words)
        return outcome(rule.matches[-1].predicate(self.family, rule), values or {})


@dataclass(frozen=True)
class PlacedSpelling:
    """A rule of a table of spellings, and iptables' answer: `saved` is None if it refuses."""

    extension: str
    place: Place
    words: str
    saved: str | None
    listed: str = ""

    def __str__(self) -> str:
        place = self.place
        return f"{place.family.command} -t {place.table} -A {place.chain} {self.words}"


def read_placed(name: str) -> list[PlacedSpelling]:
    """Read a table beside this module, whose first lines say how it is written."""
    made: list[PlacedSpelling] = []
    table, chain = "", ""
    for line in Path(__file__).with_name(name).read_text().splitlines():
        sign, _, rest = line.strip().partition(" ")
        if sign == "@":
            table, chain = rest.split()
        elif sign in ("+", "-"):
            extension, digit, words = rest.split(" ", 2)
            place = Place(table, chain, V4 if digit == "4" else V6)
            saved = place.words(words) if sign == "+" else None
            made.append(PlacedSpelling(extension, place, words, saved))
        elif sign == "=":
            made[-1] = replace(made[-1], saved=rest)
        elif sign == ">":
            made[-1] = replace(made[-1], listed=rest)
    return made
