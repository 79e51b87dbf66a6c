"""One rule as command-line words, both ways.

The grammar is iptables' own (do_parse, iptables/xshared.c): options in any order,
each taken by iptables itself or by the newest extension that has it; a protocol's
match is loaded when an option needs it; `!` before an option inverts it. As older
releases did, and today's no longer do, `!` is also taken between an option and its
value.

Words are first read without their places, which is all a rule without faults needs;
`RuleParser` reads a faulty one again with places, so that the error has its span.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bpfilter.errors import RuleError, RuleSyntaxError, SourceError
from bpfilter.rules import netdb
from bpfilter.rules.address import format_saved, parse_addresses
from bpfilter.rules.getopt import SHORT, find_option
from bpfilter.rules.model import (
    Address,
    Counters,
    Family,
    Interface,
    Jump,
    Match,
    Protocol,
    Rule,
    Target,
    Verdict,
)
from bpfilter.rules.registry import REGISTRY, Context, Given, Option, Use, Word
from bpfilter.rules.values import scan_number, to_number
from bpfilter.rules.words import join_words
from bpfilter.source import Span

VERDICTS = ("ACCEPT", "DROP", "RETURN", "QUEUE")

#: Chain, match and target names are shorter than XT_EXTENSION_MAXNAMELEN (x_tables.h).
MAX_NAME_BYTES = 28
#: Interface names are shorter than IFNAMSIZ (linux/if.h).
MAX_INTERFACE_BYTES = 15

_NO_COUNTERS = Counters()
_SPACES = frozenset(" \t\n\v\f\r")
# xtables_find_match's "ugly as hell" names.
_MATCH_ALIASES = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6"}
# `Chain`, number or second name that follow a command, by xs_has_arg.
_COMMANDS = frozenset("ACDEFILNPRSXZ")
_RULE_COMMANDS = frozenset("ACDIR")
_NO_DROP_IN_NAT = (
    'The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.'
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command line: `letter` is iptables' (`A` append, `I` insert, `N` new chain, …).

    `argument` is a rule number (`-I`, `-D`, `-R`), a policy (`-P`) or a new name (`-E`);
    several addresses in `-s` or `-d` make several rules.
    """

    letter: str
    chain: str = ""
    argument: str = ""
    rules: tuple[Rule, ...] = ()


@dataclass(slots=True)
class RuleParser:
    """Reads the rules of one table; equal matches and targets come back as one object.

    `chains` are those a rule may jump to; None takes any name.
    """

    family: Family
    table: str = "filter"
    chains: Container[str] | None = None
    cache: dict[Any, Any] = field(default_factory=dict)

    def parse(self, words: Sequence[Word], counters: Counters | None = None) -> Command | None:
        """Read a command; None if `-4` or `-6` says that the other family's tool should.

        `counters` are those written before the rule, `[packets:bytes]`.

        Raises: RuleSyntaxError, RuleError, each with the place of the fault.
        """
        span = _joined(words) if words else None
        return _Reader(self, [word.text for word in words], words, span, counters).read()

    def parse_texts(
        self, texts: Sequence[str], span: Span | None = None, counters: Counters | None = None
    ) -> Command | None:
        """Read words without places; `span` becomes the rule's. Errors have no place."""
        return _Reader(self, texts, None, span, counters).read()


def parse_rule(words: Sequence[Word], context: Context) -> tuple[str, Rule]:
    """Read `-A CHAIN …`, which must make one rule; gives the chain's name and the rule.

    Raises: RuleSyntaxError, RuleError.
    """
    command = RuleParser(context.family, context.table).parse(words)
    if command is None or command.letter != "A" or len(command.rules) != 1:
        raise RuleSyntaxError("one rule to append is expected here", _whole(words))
    return command.chain, command.rules[0]


def format_rule(rule: Rule, chain: str, family: Family, counters: bool = False) -> str:
    """Give the `-A CHAIN …` line iptables-save prints, without newline.

    `counters` adds them where `iptables -vS` has them, before the target.
    """
    words = ["-A", chain]
    for option, address in (("-s", rule.source), ("-d", rule.destination)):
        if address is not None and _is_saved(address, family):
            words += _signed(address.inverted, option, format_saved(address.value, address.mask))
    for option, interface in (("-i", rule.in_interface), ("-o", rule.out_interface)):
        if interface is not None and interface.name != "+":
            words += _signed(interface.inverted, option, interface.name)
    if rule.protocol is not None:
        number = rule.protocol.number
        name = netdb.protocol_name(number) or str(number)
        words += _signed(rule.protocol.inverted, "-p", name)
    if rule.fragment is not None:
        words += _signed(not rule.fragment, "-f")
    for match in rule.matches:
        words += ["-m", match.NAME, *match.format(family)]
    if counters:
        words += ["-c", str(rule.counters.packets), str(rule.counters.bytes)]
    return join_words(words + format_target(rule.target, family))


def format_target(target: Target | None, family: Family) -> list[str]:
    """Give the words of `-j TARGET …` or `-g CHAIN`; none without a target."""
    if target is None:
        return []
    if isinstance(target, Verdict):
        return ["-j", target.name]
    if isinstance(target, Jump):
        return ["-g" if target.goto else "-j", target.chain]
    return ["-j", target.NAME, *target.format(family)]


# IPv4 is not saved if address and mask are zero (save_ipv4_addr), IPv6 if the mask is.
def _is_saved(address: Address, family: Family) -> bool:
    if address.inverted or any(address.mask):
        return True
    return family is Family.IPV4 and any(address.value)


def _signed(inverted: bool, *words: str) -> list[str]:
    return ["!", *words] if inverted else list(words)


def _whole(words: Sequence[Word]) -> Span | None:
    return words[0].span if words else None


# An extension the rule has named: its class, the word naming it, and its options used so far.
@dataclass(slots=True)
class _Loaded:
    cls: Any
    name: str
    at: int
    uses: list[Use] = field(default_factory=list)


class _Reader:
    """Reads one command line; made for one use."""

    def __init__(
        self,
        parser: RuleParser,
        texts: Sequence[str],
        words: Sequence[Word] | None,
        span: Span | None,
        counters: Counters | None,
    ) -> None:
        self.parser = parser
        self.family = parser.family
        self.texts = texts
        self.words = words
        self.span = span
        self.at = 0
        self.option_at = 0
        self.not_at = -1  # where a pending `!` stands
        self.command = ""
        self.chain = ""
        self.argument = ""
        self.seen: set[str] = {"c"} if counters is not None else set()
        self.values: dict[str, tuple[Word, bool]] = {}
        self.goto = False
        self.fragment: bool | None = None
        self.protocol: Protocol | None = None
        self.protocol_text = ""
        self.protocol_loaded = False
        self.counters = counters if counters is not None else _NO_COUNTERS
        self.matches: list[_Loaded] = []
        self.target: _Loaded | None = None
        self.classes: list[Any] = []  # whose options are in force, oldest first

    # --- walking the words

    def read(self) -> Command | None:
        texts = self.texts
        end = len(texts)
        while self.at < end:
            text = texts[self.at]
            self.option_at = self.at
            self.at += 1
            if text[:1] != "-" or text == "-":
                self._plain(text)
                continue
            if text == "--":
                break
            if text[1] == "-":
                done = self._long(text)
            else:
                done = self._short(text)
            if not done:
                return None
            self.not_at = -1
        return self._finish()

    def fail(self, message: str, at: int | None = None, hint: str = "") -> NoReturn:
        raise RuleSyntaxError(message, self._span(self.option_at if at is None else at), hint)

    def refuse(self, message: str, at: int | None = None, hint: str = "") -> NoReturn:
        raise RuleError(message, self._span(self.option_at if at is None else at), hint)

    def _span(self, at: int) -> Span | None:
        if not self.words:
            return None
        return self.words[min(at, len(self.words) - 1)].span

    def _word(self, at: int) -> Word:
        return self.words[at] if self.words is not None else Word(self.texts[at])

    def _plain(self, text: str) -> None:
        if text != "!":
            self.fail(f"Bad argument `{text}'")
        if self.not_at >= 0:
            self.fail("multiple consecutive ! not allowed")
        self.not_at = self.option_at

    # False if the line is for the other family's command.
    def _short(self, text: str) -> bool:
        for index, letter in enumerate(text[1:], 1):
            kind = SHORT.get(letter)
            if kind is None:
                self.fail(f'unknown option "{text}"')
            rest = text[index + 1 :]
            if kind == 0:
                if not self._own(letter, None):
                    return False
                continue
            if rest:
                place = self._word(self.option_at).span
                return self._own(letter, Word(rest, place))
            return self._own(letter, self._next(text) if kind == 1 else None)
        return True

    def _long(self, text: str) -> bool:
        name, equals, joined = text.partition("=")
        found = find_option(name, self.classes)
        if found is None:
            found = self._load_protocol_match(name, text)
        value = Word(joined, self._span(self.option_at)) if equals else None
        if isinstance(found, str):
            kind = SHORT.get(found, 0)
            if kind == 0 and value is not None:
                self.fail(f'unknown option "{text}"')
            if kind == 1 and value is None:
                value = self._next(text)
            return self._own(found, value)
        self._extension_option(*found, text, value)
        return True

    def _next(self, text: str) -> Word:
        if self.at >= len(self.texts):
            self.fail(f'option "{text}" requires an argument')
        self.at += 1
        return self._word(self.at - 1)

    # As xs_has_arg: the next word, unless it starts an option or an inversion.
    def _maybe_next(self) -> Word | None:
        if self.at < len(self.texts) and self.texts[self.at][:1] not in ("-", "!"):
            self.at += 1
            return self._word(self.at - 1)
        return None

    # `--opt ! value`, the spelling before 1.4.3.
    def _inner_not(self, value: Word) -> Word:
        if value.text != "!" or self.at >= len(self.texts):
            return value
        if self.not_at >= 0:
            self.fail("Multiple `!' flags not allowed", self.at - 1)
        self.not_at = self.at - 1
        return self._next("!")

    # --- iptables' own options

    def _own(self, letter: str, value: Word | None) -> bool:
        if letter in _COMMANDS:
            self._command(letter, value)
        elif letter in "sdpio":
            assert value is not None
            value = self._inner_not(value)
            self._once(letter)
            self.values[letter] = value, self.not_at >= 0
            if letter == "p":
                self._protocol(value)
            elif letter in "io":
                self._check_interface(value)
        elif letter in "jg":
            assert value is not None
            self._once("j", invertible=False)
            self._jump(value, goto=letter == "g")
        elif letter == "m":
            assert value is not None
            if self.not_at >= 0:
                self.fail("unexpected ! flag before --match", self.not_at)
            self._match(value)
        elif letter in "46":
            return (letter == "4") == (self.family is Family.IPV4)
        else:
            self._other(letter, value)
        return True

    def _other(self, letter: str, value: Word | None) -> None:
        if letter == "f":
            if self.family is Family.IPV6:
                self.refuse("`-f' is not supported in IPv6, use -m frag instead")
            self._once("f")
            self.fragment = self.not_at < 0
        elif letter == "c":
            assert value is not None
            self._once("c", invertible=False)
            self._set_counters(value)
        elif letter == "v":
            pass
        elif letter == "t":
            self.fail(f"The -t option cannot be used in {self.family.command}-restore.")
        elif letter in "nx0":
            self.fail(f"Illegal option `-{letter}' with this command")
        else:
            self.fail(f"-{letter} has no meaning in a rule")

    def _once(self, letter: str, invertible: bool = True) -> None:
        if letter in self.seen:
            self.fail(f"multiple -{letter} flags not allowed")
        if self.not_at >= 0 and not invertible:
            self.fail(f"cannot have ! before -{letter}", self.not_at)
        self.seen.add(letter)

    def _command(self, letter: str, value: Word | None) -> None:
        if self.not_at >= 0:
            self.fail("unexpected '!' flag", self.not_at)
        if self.command:
            self.fail(f"Cannot use -{letter} with -{self.command}")
        self.command = letter
        if value is None:
            value = self._maybe_next()
        self.chain = value.text if value is not None else ""
        if len(self.chain.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            self.refuse(
                f"chain name `{self.chain}' too long (must be under {MAX_NAME_BYTES + 1} chars)",
                self.at - 1,
            )
        if letter in "DEIPR":
            self._command_argument(letter)

    def _command_argument(self, letter: str) -> None:
        argument = self._maybe_next()
        if argument is None:
            if letter in "EPR":
                what = {"E": "a new name", "P": "a policy", "R": "a rule number"}[letter]
                self.fail(f"-{letter} requires {what}")
            return
        number = to_number(argument.text, 1, 0x7FFF_FFFF)
        if letter in "DIR" and number is None:
            self.fail(f"Invalid rule number `{argument.text}'", self.at - 1)
        self.argument = argument.text if letter in "EP" else str(number)

    def _protocol(self, value: Word) -> None:
        text = value.text.lower()
        number = to_number(text, 0, 255)
        if number is None:
            number = netdb.protocol_number(text)
        if number is None:
            self.refuse(f'unknown protocol "{text}" specified', self.at - 1)
        inverted = self.not_at >= 0
        if number == 0 and inverted:
            self.refuse("rule would never match protocol", self.at - 1)
        self.protocol = Protocol(number, inverted) if number else None
        self.protocol_text = text

    def _check_interface(self, value: Word) -> None:
        if not value.text:
            self.refuse("Empty interface is likely to be undesired", self.at - 1)
        if len(value.text.encode("utf-8", "surrogateescape")) > MAX_INTERFACE_BYTES:
            self.refuse(
                f"interface name `{value.text}' must be shorter than IFNAMSIZ"
                f" ({MAX_INTERFACE_BYTES})",
                self.at - 1,
            )

    def _set_counters(self, value: Word) -> None:
        packets, comma, size = value.text.partition(",")
        if not comma:
            following = self._maybe_next()
            if following is None:
                self.fail("-c requires packet and byte counter")
            size = following.text
        numbers = [scan_number(text) for text in (packets, size)]
        for what, found in zip(("packet", "byte"), numbers, strict=True):
            if found is None:
                self.fail(f"-c {what} counter not numeric", self.at - 1)
        self.counters = Counters(*(found[0] for found in numbers if found is not None))

    # --- extensions

    def _match(self, value: Word) -> None:
        name = _MATCH_ALIASES.get(value.text, value.text)
        if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            self.fail(f'Invalid match name "{name}" ({MAX_NAME_BYTES} chars max)', self.at - 1)
        self._load(REGISTRY.find_match(name, self.family, value.span), name, self.at - 1)

    def _load(self, cls: Any, name: str, at: int) -> None:
        self.matches.append(_Loaded(cls, name, at))
        if cls not in self.classes:
            self.classes.append(cls)

    def _jump(self, value: Word, goto: bool) -> None:
        name = value.text
        if not name:
            self.fail("Invalid target name (too short)", self.at - 1)
        if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            self.fail(f"Invalid target name `{name}' ({MAX_NAME_BYTES} chars max)", self.at - 1)
        if not _SPACES.isdisjoint(name):
            self.fail(f"Invalid target name `{name}'", self.at - 1)
        cls = None
        if not goto and name not in VERDICTS:
            cls = REGISTRY.find_target(name, self.family)
        self.goto = goto
        self.target = _Loaded(cls, name, self.at - 1)
        if cls is not None:
            self.classes.append(cls)

    # `-p tcp --dport`: an unknown option loads the protocol's match, once in a rule.
    def _load_protocol_match(self, name: str, text: str) -> str | tuple[Any, Option]:
        found = None
        if self.protocol_text and not self.protocol_loaded:
            number = to_number(self.protocol_text, 0, 255)
            protocol = self.protocol_text if number is None else netdb.protocol_name(number)
            match_name = _MATCH_ALIASES.get(protocol or "", protocol or "")
            cls = REGISTRY.match(match_name, self.family)
            if cls is not None:
                self.protocol_loaded = True
                self._load(cls, match_name, self.option_at)
                found = find_option(name, self.classes)
        if found is None:
            self.fail(f'unknown option "{text}"')
        return found

    def _extension_option(self, cls: Any, option: Option, text: str, value: Word | None) -> None:
        loaded = self._owner(cls)
        values = self._option_values(option, text, value)
        inverted = self.not_at >= 0
        if inverted and not option.invertible:
            self.fail(f'{loaded.name}: option "{option.name}" cannot be inverted.')
        if not option.repeatable and any(use.option is option for use in loaded.uses):
            self.fail(f'{loaded.name}: option "{option.name}" can only be used once.')
        span = self._span(self.option_at)
        loaded.uses.append(Use(option, values, inverted, span))

    # The last one named: an earlier one of the same name is complete.
    def _owner(self, cls: Any) -> _Loaded:
        if self.target is not None and self.target.cls is cls:
            return self.target
        return next(loaded for loaded in reversed(self.matches) if loaded.cls is cls)

    def _option_values(self, option: Option, text: str, value: Word | None) -> tuple[Word, ...]:
        if option.values == 0:
            if value is not None:
                self.fail(f'unknown option "{text}"')
            return ()
        if option.optional_value and value is None:
            value = self._maybe_next()
            return () if value is None else (value,)
        values = [self._next(text) if value is None else value]
        if option.invertible and values[0].text == "!":
            values[0] = self._inner_not(values[0])
        while len(values) < option.values:
            following = self._maybe_next()
            if following is None:
                self.fail(f"{option.name} requires {option.values} args.")
            values.append(following)
        return tuple(values)

    # --- making the rule

    def _finish(self) -> Command:
        self.option_at = max(len(self.texts) - 1, 0)
        self._check_nat_drop()
        given = [self._given(loaded) for loaded in self.matches]
        context = Context(self.family, self.parser.table, self.chain, self.protocol)
        matches = tuple(
            self._made(loaded, uses, context)
            for loaded, uses in zip(self.matches, given, strict=True)
        )
        target = self._made_target(context)
        if self.at < len(self.texts):
            self.fail("unknown arguments found on commandline", self.at)
        if not self.command:
            self.fail("no command specified")
        if self.not_at >= 0:
            self.fail("nothing appropriate following !", self.not_at)
        if self.command not in _RULE_COMMANDS:
            self._check_no_rule()
            return Command(self.command, self.chain, self.argument)
        self._check_chain()
        return Command(self.command, self.chain, self.argument, self._rules(matches, target))

    def _check_nat_drop(self) -> None:
        if self.parser.table != "nat":
            return
        if self.target is not None and self.target.name == "DROP":
            self.refuse(_NO_DROP_IN_NAT, self.target.at)
        if self.command == "P" and self.argument == "DROP":
            self.refuse(_NO_DROP_IN_NAT)

    def _given(self, loaded: _Loaded) -> Given:
        return Given(tuple(loaded.uses), self._span(loaded.at))

    # Equal words make equal values, so one object serves all rules of the table.
    def _made(self, loaded: _Loaded, given: Given, context: Context) -> Any:
        key = None
        if self.words is None:
            uses = tuple([(use.option, use.words, use.inverted) for use in given.uses])
            key = loaded.cls, uses, context
            made = self.parser.cache.get(key)
            if made is not None:
                return made
        for option in loaded.cls.OPTIONS:
            if option.required and option.name not in given:
                self.fail(f'{loaded.name}: option "{option.name}" must be specified', loaded.at)
        try:
            made = loaded.cls.parse(given, context)
        except SourceError as error:
            if error.span is None:
                error.span = given.span
            raise
        if key is not None:
            self.parser.cache[key] = made
        return made

    def _made_target(self, context: Context) -> Target | None:
        loaded = self.target
        if loaded is None:
            return None
        chains = self.parser.chains
        if loaded.name in VERDICTS and not self.goto:
            return Verdict(loaded.name)
        made: Target | None = None
        if loaded.cls is not None:
            made = self._made(loaded, self._given(loaded), context)
        if made is None or (chains is not None and loaded.name in chains):
            made = Jump(loaded.name, self.goto)
            if chains is not None and loaded.name not in chains:
                self._no_chain(loaded)
        return made

    def _no_chain(self, loaded: _Loaded) -> NoReturn:
        if self.goto:
            self.refuse(f"goto '{loaded.name}' is not a chain", loaded.at)
        self.refuse(
            f"Couldn't load target `{loaded.name}'",
            loaded.at,
            "it is neither a chain of this table nor a target known here",
        )

    def _check_no_rule(self) -> None:
        letter = next(iter(self.seen - {"c"}), "m" if self.matches else "")
        if letter:
            self.fail(f"Illegal option `-{letter}' with this command")

    # -o means nothing to incoming packets, -i nothing to outgoing ones.
    def _check_chain(self) -> None:
        for letter, chains in (("o", ("PREROUTING", "INPUT")), ("i", ("POSTROUTING", "OUTPUT"))):
            if letter in self.values and self.chain in chains:
                at = self._index_of(self.values[letter][0])
                self.refuse(f"Can't use -{letter} with {self.chain}", at)

    def _index_of(self, word: Word) -> int:
        if self.words is None:
            return 0
        return next((i for i, other in enumerate(self.words) if other is word), self.option_at)

    def _rules(self, matches: tuple[Match, ...], target: Target | None) -> tuple[Rule, ...]:
        sources = self._addresses("s")
        destinations = self._addresses("d")
        many = len(sources) > 1 or len(destinations) > 1
        if many and any(a is not None and a.inverted for a in (*sources, *destinations)):
            self.refuse("! not allowed with multiple source or destination IP addresses")
        if self.command == "R" and many:
            self.refuse("Replacement rule does not specify a unique address")
        return tuple(
            Rule(
                source,
                destination,
                self._interface("i"),
                self._interface("o"),
                self.protocol,
                self.fragment,
                matches,
                target,
                self.counters,
                self.span,
            )
            for source in sources
            for destination in destinations
        )

    def _addresses(self, letter: str) -> tuple[Address | None, ...]:
        given = self.values.get(letter)
        return (None,) if given is None else parse_addresses(given[0], self.family, given[1])

    def _interface(self, letter: str) -> Interface | None:
        given = self.values.get(letter)
        return None if given is None else Interface(given[0].text, given[1])


def _joined(words: Sequence[Word]) -> Span | None:
    first, last = words[0].span, words[-1].span
    if first is None or last is None:
        return None
    return Span(first.name, first.line, first.column, last.end, first.text)
