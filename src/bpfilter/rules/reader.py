"""The words of one command line, read as iptables reads them (do_parse, iptables/xshared.c).

Options come in any order, each taken by iptables itself or by the newest extension
that has it; a protocol's match is loaded when an option needs it; `!` before an option
inverts it. As older releases did, and today's no longer do, `!` is also taken between
an option and its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from bpfilter.rules import netdb
from bpfilter.rules.draft import (
    MAX_INTERFACE_BYTES,
    MAX_NAME_BYTES,
    VERDICTS,
    Draft,
    Loaded,
)
from bpfilter.rules.getopt import SHORT, find_option
from bpfilter.rules.model import Counters, Family, Protocol
from bpfilter.rules.registry import REGISTRY, Option, Use, Word
from bpfilter.rules.values import scan_number, to_number
from bpfilter.rules.words import byte_length

COMMANDS = frozenset("ACDEFILNPRSXZ")

_SPACES = frozenset(" \t\n\v\f\r")
# xtables_find_match's "ugly as hell" names.
_MATCH_ALIASES = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6"}
_COMMAND_NEEDS = {"E": "a new name", "P": "a policy", "R": "a rule number"}


def read_words(
    words: Sequence[Word], family: Family, counters: Counters | None = None
) -> Draft | None:
    """Read a line; None if `-4` or `-6` says that it is for the other family's command.

    Raises: RuleSyntaxError, RuleError.
    """
    return _Reader(words, family, counters).read()


class _Reader:
    def __init__(self, words: Sequence[Word], family: Family, counters: Counters | None) -> None:
        self.draft = Draft(words, family, counters)
        self.words = words
        self.family = family
        self.at = 0  # the next word
        self.option_at = 0  # the option being read
        self.not_at = -1  # where a pending `!` stands
        self.classes: list[Any] = []  # extensions whose options are in force, oldest first
        self.protocol_text = ""
        self.protocol_loaded = False

    def read(self) -> Draft | None:
        while self.at < len(self.words):
            text = self.words[self.at].text
            self.option_at = self.at
            self.at += 1
            if text[:1] != "-" or text == "-":
                self._plain(text)
                continue
            if text == "--":
                if self.at < len(self.words):
                    self.fail("unknown arguments found on commandline", self.at)
                break
            if not (self._long(text) if text[1] == "-" else self._short(text)):
                return None
            self.not_at = -1
        if not self.draft.letter:
            self.fail("no command specified")
        if self.not_at >= 0:
            self.fail("nothing appropriate following !", self.not_at)
        return self.draft

    def fail(self, message: str, at: int | None = None, hint: str = "") -> NoReturn:
        self.draft.fail(message, self.option_at if at is None else at, hint)

    def refuse(self, message: str, at: int | None = None) -> NoReturn:
        self.draft.refuse(message, self.option_at if at is None else at)

    # --- the shapes of words

    def _plain(self, text: str) -> None:
        if text != "!":
            hint = "blanks around COMMIT are not taken" if text == "COMMIT" else ""
            self.fail(f"Bad argument `{text}'", hint=hint)
        if self.not_at >= 0:
            self.fail("multiple consecutive ! not allowed")
        self.not_at = self.option_at

    # Both give False if the line is for the other family's command.
    def _short(self, text: str) -> bool:
        for index, letter in enumerate(text[1:], 1):
            kind = SHORT.get(letter)
            if kind is None:
                self.fail(f'unknown option "{text}"')
            if kind == 0:
                if not self._own(letter, None):
                    return False
                continue
            rest = text[index + 1 :]
            if rest:
                return self._own(letter, self._joined(letter, rest, text))
            return self._own(letter, self._next(text) if kind == 1 else None)
        return True

    def _long(self, text: str) -> bool:
        name, equals, joined = text.partition("=")
        found = find_option(name, self.classes) or self._load_protocol_match(name, text)
        value = Word(joined, self.words[self.option_at].span) if equals else None
        if not isinstance(found, str):
            self._extension_option(*found, text, value)
            return True
        kind = SHORT.get(found, 0)
        if kind == 0 and value is not None:
            self.fail(f'unknown option "{text}"')
        if value is not None:
            value = self._joined(found, joined, text)
        elif kind == 1:
            value = self._next(text)
        return self._own(found, value)

    # iptables 1.8.9 takes the whole word for these options' value: never what was meant.
    def _joined(self, letter: str, value: str, text: str) -> Word:
        if letter in "sdpioj":
            self.fail(f"-{letter} takes its value as a word of its own, not as `{text}'")
        return Word(value, self.words[self.option_at].span)

    def _next(self, text: str) -> Word:
        if self.at >= len(self.words):
            self.fail(f'option "{text}" requires an argument')
        self.at += 1
        return self.words[self.at - 1]

    # As xs_has_arg: the next word, unless it starts an option or an inversion.
    def _maybe_next(self) -> Word | None:
        if self.at < len(self.words) and self.words[self.at].text[:1] not in ("-", "!"):
            self.at += 1
            return self.words[self.at - 1]
        return None

    # `--opt ! value`, the spelling before 1.4.3.
    def _inner_not(self, value: Word) -> Word:
        following = self.words[self.at].text if self.at < len(self.words) else "-"
        if value.text != "!" or following[:1] in ("-", "!"):
            return value
        if self.not_at >= 0:
            self.fail("Multiple `!' flags not allowed", self.at - 1)
        self.not_at = self.at - 1
        return self._next("!")

    # --- iptables' own options

    def _own(self, letter: str, value: Word | None) -> bool:
        if letter in COMMANDS:
            self._command(letter, value)
        elif letter in "46":
            return (letter == "4") == (self.family is Family.IPV4)
        elif value is None:
            self._flag(letter)
        elif letter in "sdpio":
            self._condition(letter, value)
        elif letter in "jg":
            self._once("j", invertible=False)
            self._jump(value, goto=letter == "g")
        elif letter == "m":
            if self.not_at >= 0:
                self.fail("unexpected ! flag before --match", self.not_at)
            self._match(value)
        elif letter == "c":
            self._once("c", invertible=False)
            self._set_counters(value)
        elif letter == "t":
            self.fail(f"The -t option cannot be used in {self.family.command}-restore.")
        else:
            self.fail(f"-{letter} has no meaning in a rule")
        return True

    def _flag(self, letter: str) -> None:
        if letter == "f":
            if self.family is Family.IPV6:
                self.refuse("`-f' is not supported in IPv6, use -m frag instead")
            self._once("f")
            self.draft.fragment = self.not_at < 0
        elif letter in "nx0":
            self.fail(f"Illegal option `-{letter}' with this command")
        elif letter != "v":
            self.fail(f"-{letter} has no meaning in a rule")
        elif self.not_at >= 0:
            self.fail("cannot have ! before -v", self.not_at)

    def _once(self, letter: str, invertible: bool = True) -> None:
        if letter in self.draft.seen:
            self.fail(f"multiple -{letter} flags not allowed")
        if self.not_at >= 0 and not invertible:
            self.fail(f"cannot have ! before -{letter}", self.not_at)
        self.draft.seen.add(letter)

    def _condition(self, letter: str, value: Word) -> None:
        value = self._inner_not(value)
        self._once(letter)
        if letter == "p":
            self._protocol(value)
            return
        if letter in "io":
            self._check_interface(value)
        self.draft.values[letter] = value, self.not_at >= 0

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
        self.draft.protocol = Protocol(number, inverted) if number else None
        self.draft.any_protocol = number == 0 and self.family is Family.IPV6
        self.protocol_text = text

    def _check_interface(self, value: Word) -> None:
        if not value.text:
            self.refuse("Empty interface is likely to be undesired", self.at - 1)
        if byte_length(value.text) > MAX_INTERFACE_BYTES:
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
        numbers = []
        for what, text in (("packet", packets), ("byte", size)):
            found = scan_number(text)
            if found is None:
                self.fail(f"-c {what} counter not numeric", self.at - 1)
            numbers.append(found[0])
        self.draft.counters = Counters(*numbers)

    def _command(self, letter: str, value: Word | None) -> None:
        draft = self.draft
        if self.not_at >= 0:
            self.fail("unexpected '!' flag", self.not_at)
        if draft.letter:
            self.fail(f"Cannot use -{letter} with -{draft.letter}")
        draft.letter = letter
        if value is None:
            value = self._maybe_next()
        draft.chain = value.text if value is not None else ""
        if byte_length(draft.chain) > MAX_NAME_BYTES:
            self.refuse(
                f"chain name `{draft.chain}' too long (must be under {MAX_NAME_BYTES + 1} chars)",
                self.at - 1,
            )
        if letter in "DEIPR":
            self._command_argument(letter)

    def _command_argument(self, letter: str) -> None:
        argument = self._maybe_next()
        if argument is None:
            if letter in _COMMAND_NEEDS:
                self.fail(f"-{letter} requires {_COMMAND_NEEDS[letter]}")
            return
        if letter in "EP":
            self.draft.argument = argument.text
            return
        number = to_number(argument.text, 1, 0x7FFF_FFFF)
        if number is None:
            self.fail(f"Invalid rule number `{argument.text}'", self.at - 1)
        self.draft.argument = str(number)

    # --- extensions

    def _match(self, value: Word) -> None:
        name = _MATCH_ALIASES.get(value.text, value.text)
        if byte_length(name) > MAX_NAME_BYTES:
            self.fail(f'Invalid match name "{name}" ({MAX_NAME_BYTES} chars max)', self.at - 1)
        self._load(REGISTRY.find_match(name, self.family, value.span), name, self.at - 1)

    def _load(self, cls: Any, name: str, at: int) -> None:
        self.draft.matches.append(Loaded(cls, name, at))
        if cls not in self.classes:
            self.classes.append(cls)

    def _jump(self, value: Word, goto: bool) -> None:
        name = value.text
        if not name:
            self.fail("Invalid target name (too short)", self.at - 1)
        if byte_length(name) > MAX_NAME_BYTES:
            self.fail(f"Invalid target name `{name}' ({MAX_NAME_BYTES} chars max)", self.at - 1)
        if not _SPACES.isdisjoint(name):
            self.fail(f"Invalid target name `{name}'", self.at - 1)
        cls = None
        if not goto and name not in VERDICTS:
            cls = REGISTRY.find_target(name, self.family)
        self.draft.goto = goto
        self.draft.target = Loaded(cls, name, self.at - 1)
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
        loaded.uses.append(Use(option, values, inverted, self.words[self.option_at].span))

    # The last one named: an earlier one of the same name is complete.
    def _owner(self, cls: Any) -> Loaded:
        target = self.draft.target
        if target is not None and target.cls is cls:
            return target
        return next(loaded for loaded in reversed(self.draft.matches) if loaded.cls is cls)

    def _option_values(self, option: Option, text: str, value: Word | None) -> tuple[Word, ...]:
        if option.values == 0:
            if value is not None:
                self.fail(f'unknown option "{text}"')
            return ()
        if option.optional_value and value is None:
            value = self._maybe_next()
            return () if value is None else (value,)
        values = [self._next(text) if value is None else value]
        if option.invertible:
            values[0] = self._inner_not(values[0])
        while len(values) < option.values:
            following = self._maybe_next()
            if following is None:
                self.fail(f"{option.name} requires {option.values} args.")
            values.append(following)
        return tuple(values)
