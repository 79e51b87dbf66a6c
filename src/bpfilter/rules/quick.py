"""The form iptables-save itself writes, read at speed.

A large ruleset is mostly such lines: every option by its full name and once, `-m` before
a match's options, no value that is `!`. `QuickReader` reads these in one pass without
places, and gives up (None) on anything else, faults included: `reader.py` then reads the
line with all of iptables' grammar. Equal words make equal values, so matches, targets,
addresses and interfaces are made once and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import cache
from typing import Any

from bpfilter.errors import SourceError
from bpfilter.rules import netdb
from bpfilter.rules.address import parse_addresses
from bpfilter.rules.assemble import NOT_IN_CHAIN, make_extension
from bpfilter.rules.draft import MAX_INTERFACE_BYTES, VERDICTS
from bpfilter.rules.getopt import LONG
from bpfilter.rules.model import (
    Address,
    Counters,
    Family,
    Interface,
    Jump,
    Protocol,
    Rule,
    Verdict,
)
from bpfilter.rules.registry import REGISTRY, Context, Given, Option, Use, Word
from bpfilter.rules.words import byte_length
from bpfilter.source import Span

# An extension with its options as one flat list: class, name, then for each option its
# Option's name, whether it is inverted, and its values.
Segment = list[Any]

_NO_OUT, _NO_IN = NOT_IN_CHAIN["o"], NOT_IN_CHAIN["i"]
_NO_COUNTERS = Counters()
_VERDICTS = {name: Verdict(name) for name in VERDICTS}


class QuickReader:
    """Reads rules of one table; what it makes is kept for the next rule."""

    def __init__(self, family: Family, table: str, chains: Container[str] | None) -> None:
        self.family = family
        self.table = table
        self.chains = chains
        self.kept: dict[Any, Any] = {}
        self.makers: dict[str, Callable[[str, bool], Any]] = {
            "-s": self._address,
            "-d": self._address,
            "-i": self._interface,
            "-o": self._interface,
            "-p": self._protocol,
            "-m": self._match,
            "-j": self._jump,
        }

    def read(
        self, texts: list[str], counters: Counters | None, span: Span | None
    ) -> tuple[str, Rule] | None:
        """Read `-A CHAIN …`; gives the chain's name and the rule, or None to give up."""
        if len(texts) < 2 or texts[0] != "-A":
            return None
        found: dict[str, Any] = {}
        segments: list[Segment] = []
        names: dict[str, Option] = {}  # options of the newest extension
        kept = self.kept
        at, end = 2, len(texts)
        while at < end:
            text = texts[at]
            inverted = text == "!"
            if inverted:
                at += 1
                text = texts[at] if at < end else ""
            option = names.get(text)
            if option is not None:
                at = self._option(option, segments[-1], inverted, texts, at + 1)
                if at == 0:
                    return None
                continue
            at += 2
            if at > end or text in found:
                return None
            key = text, texts[at - 1], inverted
            made = kept.get(key)
            if made is None:
                made = kept[key] = self._own(*key)
                if made is None:
                    return None
            if type(made) is type:  # an extension
                if any(made is segment[0] for segment in segments):
                    return None
                segments.append([made, key[1]])
                names = _names(made)
                if text == "-m":
                    continue
            found[text] = made
        return self._finish(texts[1], found, segments, counters, span)

    # Adds an option and its values to a segment; gives where the next word is, 0 to give up.
    def _option(
        self, option: Option, segment: Segment, inverted: bool, texts: list[str], at: int
    ) -> int:
        if (inverted and not option.invertible) or option.optional_value:
            return 0
        if option.name in segment and not option.repeatable:
            return 0
        end = at + option.values
        values = texts[at:end]
        if len(values) < option.values or "!" in values:
            return 0
        if any(value[:1] in ("-", "!") for value in values[1:]):
            return 0
        segment += (option.name, inverted, *values)
        return end

    # What an option of iptables' own means: a value, an extension's class, None to give up.
    def _own(self, text: str, value: str, inverted: bool) -> Any:
        maker = self.makers.get(text)
        return None if maker is None or value == "!" else maker(value, inverted)

    def _address(self, value: str, inverted: bool) -> Address | None:
        try:
            made = parse_addresses(Word(value), self.family, inverted)
        except SourceError:
            return None
        return made[0] if len(made) == 1 else None

    def _interface(self, value: str, inverted: bool) -> Interface | None:
        if not value or byte_length(value) > MAX_INTERFACE_BYTES:
            return None
        return Interface(value, inverted)

    def _protocol(self, value: str, inverted: bool) -> Protocol | None:
        number = netdb.protocol_number(value)
        return Protocol(number, inverted) if number else None

    def _match(self, value: str, inverted: bool) -> Any:
        return None if inverted else REGISTRY.match(value, self.family)

    def _jump(self, value: str, inverted: bool) -> Any:
        if inverted or (value == "DROP" and self.table == "nat"):
            return None
        if value in _VERDICTS:
            return _VERDICTS[value]
        target = REGISTRY.find_target(value, self.family)
        if self.chains is None:
            return target or Jump(value)
        if value in self.chains:
            return Jump(value) if target is None else None
        return target

    def _finish(
        self,
        chain: str,
        found: dict[str, Any],
        segments: list[Segment],
        counters: Counters | None,
        span: Span | None,
    ) -> tuple[str, Rule] | None:
        if ("-o" in found and chain in _NO_OUT) or ("-i" in found and chain in _NO_IN):
            return None
        protocol = found.get("-p")
        target = found.get("-j")
        try:
            made = [self._made(segment, chain, protocol) for segment in segments]
        except SourceError:
            return None
        if type(target) is type:
            at = next(i for i, segment in enumerate(segments) if segment[0] is target)
            target = made.pop(at)
        rule = Rule(
            found.get("-s"),
            found.get("-d"),
            found.get("-i"),
            found.get("-o"),
            protocol,
            None,
            tuple(made),
            target,
            counters or _NO_COUNTERS,
            span,
        )
        return chain, rule

    def _made(self, segment: Segment, chain: str, protocol: Protocol | None) -> Any:
        key = tuple(segment), chain, protocol
        made = self.kept.get(key)
        if made is None:
            context = Context(self.family, self.table, chain, protocol)
            given = Given(tuple(_uses(segment)))
            made = self.kept[key] = make_extension(segment[0], segment[1], given, context)
        return made


def _uses(segment: Segment) -> list[Use]:
    names = _names(segment[0])
    uses: list[Use] = []
    at = 2
    while at < len(segment):
        option, inverted = names[segment[at]], segment[at + 1]
        values = segment[at + 2 : at + 2 + option.values]
        uses.append(Use(option, tuple(Word(value) for value in values), inverted))
        at += 2 + option.values
    return uses


# iptables' own option of the same name would go before an extension's.
@cache
def _names(cls: Any) -> dict[str, Option]:
    return {
        name: option
        for option in cls.OPTIONS
        for name in (option.name, *option.aliases)
        if name not in LONG
    }
