"""A command line half read: what its words have said so far.

`reader.py` fills it from words, `assemble.py` makes the command of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from bpfilter.dataclass import dataclass, field
from bpfilter.errors import RuleError, RuleSyntaxError
from bpfilter.rules.model import Counters, Family, Protocol, Rule
from bpfilter.rules.registry import Given, Use, Word
from bpfilter.source import Span

NO_CHAIN = "No chain/target/match by that name"

VERDICTS = ("ACCEPT", "DROP", "RETURN", "QUEUE")

#: Chain, match and target names are shorter than XT_EXTENSION_MAXNAMELEN (x_tables.h).
MAX_NAME_BYTES = 28
#: Interface names are shorter than IFNAMSIZ (linux/if.h).
MAX_INTERFACE_BYTES = 15


@dataclass(frozen=True, slots=True)
class Command:
    """One command line: `letter` is iptables' (`A` append, `I` insert, `N` new chain, …).

    `argument` is a rule number (`-I`, `-D`, `-R`, `-L`, `-S`, `-Z`), a policy (`-P`, with
    `counters`) or a new name (`-E`); several addresses in `-s` or `-d` make several rules.
    `zeroes` is `-Z` beside `-L` or `-S`.
    """

    letter: str
    chain: str = ""
    argument: str = ""
    rules: tuple[Rule, ...] = ()
    counters: Counters = Counters()
    zeroes: bool = False


@dataclass(slots=True)
class Invocation:
    """What a command line says beside its command: how to list, to wait, or only to help.

    `table` is None unless `-t` names one; `wait_s` is 0 without `-w`, None to wait for ever;
    `asks` is `h` or `V` where that ended the reading of the line.
    """

    table: str | None = None
    numeric: bool = False
    exact: bool = False
    line_numbers: bool = False
    verbose: int = 0
    wait_s: float | None = 0.0
    wait_interval: bool = False
    asks: str = ""


@dataclass(slots=True)
class Loaded:
    """An extension the rule has named: its class (None for a chain or verdict) and uses."""

    cls: Any
    name: str
    at: int  # index of the word that named it
    uses: list[Use] = field(default_factory=list)


class Draft:
    """What has been read; words are named by their index."""

    def __init__(
        self, words: Sequence[Word], family: Family, counters: Counters | None = None
    ) -> None:
        self.words = words
        self.family = family
        self.invocation = Invocation()
        self.letter = ""
        self.zeroes = False
        self.chain = ""
        self.argument = ""
        #: Letters of iptables' own options used, and which words these are; `[n:m]` before a
        #: rule stands for `-c`.
        self.seen: dict[str, int] = {} if counters is None else {"c": 0}
        self.counters = Counters() if counters is None else counters
        #: `s d i o`: the value, and whether it is inverted.
        self.values: dict[str, tuple[Word, bool]] = {}
        self.protocol: Protocol | None = None
        self.any_protocol = False
        self.fragment: bool | None = None
        self.goto = False
        self.matches: list[Loaded] = []
        self.target: Loaded | None = None

    def span(self, at: int) -> Span | None:
        if not self.words:
            return None
        return self.words[min(at, len(self.words) - 1)].span

    def whole_span(self) -> Span | None:
        """Give the stretch of the line from the first word to the last."""
        first, last = self.span(0), self.span(len(self.words))
        if first is None or last is None:
            return None
        return Span(first.name, first.line, first.column, last.end, first.text)

    def given(self, loaded: Loaded) -> Given:
        return Given(tuple(loaded.uses), self.span(loaded.at))

    def fail(self, message: str, at: int, hint: str = "") -> NoReturn:
        """Raise RuleSyntaxError at a word."""
        raise RuleSyntaxError(message, self.span(at), hint)

    def refuse(self, message: str, at: int, hint: str = "") -> NoReturn:
        """Raise RuleError at a word."""
        raise RuleError(message, self.span(at), hint)
