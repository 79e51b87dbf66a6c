"""From what a line's words said to the command and its rules, with iptables' checks."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NoReturn

from bpfilter.errors import RuleSyntaxError, SourceError
from bpfilter.rules.address import parse_addresses
from bpfilter.rules.draft import VERDICTS, Command, Draft, Loaded
from bpfilter.rules.getopt import NAMES
from bpfilter.rules.model import Address, Interface, Jump, Rule, Target, Verdict
from bpfilter.rules.registry import Context, Given

#: Options that mean nothing in a base chain: incoming packets have no -o, outgoing no -i.
NOT_IN_CHAIN = {"o": ("PREROUTING", "INPUT"), "i": ("POSTROUTING", "OUTPUT")}

_RULE_COMMANDS = frozenset("ACDIR")
#: Options and the commands that take them (options_v_commands, iptables/xshared.c).
_TAKEN: dict[str, str] = {
    "n": "L",
    "s": "ACDIR",
    "d": "ACDIR",
    "p": "ACDIR",
    "j": "ACDIR",
    "x": "L",
    "i": "ACDIR",
    "o": "ACDIR",
    "0": "L",
    "c": "AIPR",
    "f": "ACDIR",
}
_NO_DROP_IN_NAT = (
    'The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.'
)


def assemble(draft: Draft, table: str, chains: Container[str] | None) -> Command:
    """Make the command; `chains` are those a rule may jump to, None takes any name.

    Raises: RuleSyntaxError, RuleError.
    """
    _check_nat_drop(draft, table)
    context = Context(draft.family, table, draft.chain, draft.protocol)
    has_rule = draft.letter in _RULE_COMMANDS
    loaded_matches = draft.matches if has_rule else ()  # others look at none
    matches = tuple(_extension(draft, loaded, context) for loaded in loaded_matches)
    context = Context(draft.family, table, draft.chain, draft.protocol, matches)
    _check_options(draft)
    _check_chain(draft)
    target = _target(draft, context, chains)
    if not has_rule or (draft.letter == "D" and draft.argument):
        return Command(
            draft.letter,
            draft.chain,
            draft.argument,
            counters=draft.counters,
            zeroes=draft.zeroes,
        )
    sources, destinations = _addresses(draft, "s"), _addresses(draft, "d")
    _check_addresses(draft, sources, destinations)
    rules = tuple(
        Rule(
            source,
            destination,
            _interface(draft, "i"),
            _interface(draft, "o"),
            draft.protocol,
            draft.fragment,
            matches,
            target,
            draft.counters,
            draft.whole_span(),
            draft.any_protocol,
        )
        for source in sources
        for destination in destinations
    )
    return Command(draft.letter, draft.chain, draft.argument, rules)


def make_extension(cls: Any, name: str, given: Given, context: Context) -> Any:
    """Make a match or target of the options given. Raises: RuleError, RuleSyntaxError."""
    try:
        for option in cls.OPTIONS:
            if option.required and option.name not in given:
                raise RuleSyntaxError(f'{name}: option "{option.name}" must be specified')
        return cls.parse(given, context)
    except SourceError as error:
        if error.span is None:
            error.span = given.span
        raise


def _extension(draft: Draft, loaded: Loaded, context: Context) -> Any:
    return make_extension(loaded.cls, loaded.name, draft.given(loaded), context)


def _target(draft: Draft, context: Context, chains: Container[str] | None) -> Target | None:
    loaded = draft.target
    if loaded is None:
        return None
    if loaded.name in VERDICTS and not draft.goto:
        return Verdict(loaded.name)
    is_chain = chains is None or loaded.name in chains
    if loaded.cls is not None:
        made: Target = _extension(draft, loaded, context)
        if chains is None or not is_chain:  # "using chain %s, not extension"
            return made
    if not is_chain:
        _refuse_target(draft, loaded)
    return Jump(loaded.name, draft.goto)


def _refuse_target(draft: Draft, loaded: Loaded) -> NoReturn:
    if draft.goto:
        draft.refuse(f"goto '{loaded.name}' is not a chain", loaded.at)
    draft.refuse(
        f"Couldn't load target `{loaded.name}'",
        loaded.at,
        "it is neither a chain of this table nor a target known here",
    )


def _check_nat_drop(draft: Draft, table: str) -> None:
    if table == "nat":
        if draft.target is not None and draft.target.name == "DROP":
            draft.refuse(_NO_DROP_IN_NAT, draft.target.at)
        if draft.letter == "P" and draft.argument == "DROP":
            draft.refuse(_NO_DROP_IN_NAT, len(draft.words))


def _check_options(draft: Draft) -> None:
    has_rule = draft.letter != "D" or not draft.argument
    asked = {draft.letter, "Z"} if draft.zeroes else {draft.letter}
    for letter, commands in _TAKEN.items():
        if letter in draft.seen and not (asked <= set(commands) and has_rule):
            draft.fail(f"Illegal option `{NAMES[letter]}' with this command", draft.seen[letter])


def _check_chain(draft: Draft) -> None:
    for letter, chains in NOT_IN_CHAIN.items():
        if letter in draft.values and draft.chain in chains:
            draft.refuse(f"Can't use {NAMES[letter]} with {draft.chain}", _at(draft, letter))


def _check_addresses(
    draft: Draft, sources: tuple[Address | None, ...], destinations: tuple[Address | None, ...]
) -> None:
    if len(sources) == 1 and len(destinations) == 1:
        return
    if any(address is not None and address.inverted for address in sources + destinations):
        draft.refuse(
            "! not allowed with multiple source or destination IP addresses",
            _at(draft, "s" if len(sources) > 1 else "d"),
        )
    if draft.letter == "R":
        draft.refuse("Replacement rule does not specify a unique address", 0)


def _addresses(draft: Draft, letter: str) -> tuple[Address | None, ...]:
    if letter not in draft.values:
        return (None,)
    word, inverted = draft.values[letter]
    return parse_addresses(word, draft.family, inverted)


def _interface(draft: Draft, letter: str) -> Interface | None:
    if letter not in draft.values:
        return None
    word, inverted = draft.values[letter]
    return Interface(word.text, inverted)


# The index of an option's value; a value joined to its option is no word of its own.
def _at(draft: Draft, letter: str) -> int:
    word, _ = draft.values[letter]
    return next((at for at, other in enumerate(draft.words) if other.span == word.span), 0)
