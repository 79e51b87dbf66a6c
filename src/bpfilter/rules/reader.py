"""The words of one command line, read as iptables reads them (do_parse, iptables/xshared.c).

Options come in any order, each taken by iptables itself or by the newest extension
that has it; a protocol's match is loaded when an option needs it; `!` before an option
inverts it. In saved rules `!` is also taken between an option and its value, as older
releases did, and today's no longer do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from bpfilter.errors import TableError
from bpfilter.rules import netdb
from bpfilter.rules.draft import (
    MAX_INTERFACE_BYTES,
    MAX_NAME_BYTES,
    NO_CHAIN,
    VERDICTS,
    Draft,
    Loaded,
)
from bpfilter.rules.getopt import NAMES, SHORT, find_option
from bpfilter.rules.model import Counters, Family, Protocol
from bpfilter.rules.registry import REGISTRY, Option, Use, Word
from bpfilter.rules.values import scan_number, to_count, to_number
from bpfilter.rules.words import byte_length, is_plain

COMMANDS = frozenset("ACDEFILNPRSXZ")
#: Those whose chain may be left out.
_ON_ALL = frozenset("FLSXZ")
_NUMBERED = frozenset("DILRSZ")

_SPACES = frozenset(" \t\n\v\f\r")
_DECIMAL = r"[ \t\n\v\f\r]*\+?([0-9]+)"
# xtables_find_match's "ugly as hell" names.
_MATCH_ALIASES = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6"}
_COMMAND_NEEDS = {
    "E": "old-chain-name and new-chain-name",
    "P": "a chain and a policy",
    "R": "a rule number",
}


def read_words(
    words: Sequence[Word],
    family: Family,
    counters: Counters | None = None,
    *,
    is_saved: bool = True,
) -> Draft | None:
    """Read a line; None if `-4` or `-6` says that it is for the other family's command.

    `is_saved` lines are those of iptables-restore, which may not say `-t` nor `-w`.
    Raises: RuleSyntaxError, RuleError.
    """
    return _Reader(words, family, counters, is_saved).read()


class _Reader:
    def __init__(
        self, words: Sequence[Word], family: Family, counters: Counters | None, is_saved: bool
    ) -> None:
        self.draft = Draft(words, family, counters)
        self.is_saved = is_saved
        self.words = words
        self.family = family
        self.at = 0  # the next word
        self.option_at = 0  # the option being read
        self.not_at = -1  # where a pending `!` stands
        self.classes: list[Any] = []  # extensions whose options are in force, oldest first
        self.protocol_text = ""
        self.protocol_loaded = False

    def read(self) -> Draft | None:
        while self.at < len(self.words) and not self.draft.invocation.asks:
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
        if self.draft.invocation.asks:
            return self.draft
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
                return self._own(letter, Word(rest, self.words[self.option_at].span))
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
        if value is None and kind == 1:
            value = self._next(text)
        return self._own(found, value)

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
        if not self.is_saved or value.text != "!" or following[:1] in ("-", "!"):
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
        elif letter in "fvnx0V":
            self._flag(letter)
        elif value is not None and letter in "sdpio":
            self._condition(letter, value)
        elif value is not None and letter in "jg":
            self._once("j", invertible=False)
            self._jump(value, goto=letter == "g")
        elif value is not None and letter == "m":
            if self.not_at >= 0:
                self.fail("unexpected ! flag before --match", self.not_at)
            self._match(value)
        elif value is not None and letter == "c":
            self._once("c", invertible=False)
            self._set_counters(value)
        elif letter in "twW":
            self._of_command_line(letter, value)
        elif letter == "h":
            self._help()
        elif letter != "M":  # there is no module to load
            self.fail(f'unknown option "-{letter}"')
        return True

    # Options without a value: of the rule, or of how it is shown.

    def _flag(self, letter: str) -> None:
        if letter == "f":
            if self.family is Family.IPV6:
                self.refuse("`-f' is not supported in IPv6, use -m frag instead")
            self._once("f")
            self.draft.fragment = self.not_at < 0
            return
        told = self.draft.invocation
        if letter == "V":
            if self.is_saved:
                self.fail("-V has no meaning in a rule")
            told.asks = "V"
        elif letter == "v":
            self._not_inverted("v")
            told.verbose += 1
        else:
            self._once(letter, invertible=False)
            told.numeric |= letter == "n"
            told.exact |= letter == "x"
            told.line_numbers |= letter == "0"

    def _of_command_line(self, letter: str, value: Word | None) -> None:
        command = f"{self.family.command}-restore"
        told = self.draft.invocation
        if self.is_saved:
            if letter == "t":
                self.fail(f"The -t option cannot be used in {command}.")
            self.fail(f"You cannot use `-{letter}' from {command}")
        if letter == "t":
            assert value is not None  # it takes one
            if self.not_at >= 0:
                self.fail("unexpected ! flag before --table", self.not_at)
            told.table = value.text
            return
        if value is None:
            value = self._maybe_next()
        number = None if value is None else scan_number(value.text)
        if value is not None and (number is None or number[1]):
            what = "wait seconds" if letter == "w" else "wait interval"
            self.fail(f"{what} not numeric", self.at - 1)
        if letter == "w":
            told.wait_s = None if number is None else float(number[0])
        else:
            told.wait_interval = True

    # `-p icmp -h` helps with icmp, too.
    def _help(self) -> None:
        if self.is_saved:
            self.fail("-h has no meaning in a rule")
        if self.protocol_text and not self.draft.matches:
            self._find_protocol_match()
        self.draft.invocation.asks = "h"

    def _once(self, letter: str, invertible: bool = True) -> None:
        if letter in self.draft.seen:
            self.fail(f"multiple {NAMES[letter]} options not allowed")
        if not invertible:
            self._not_inverted(letter)
        self.draft.seen[letter] = self.option_at

    def _not_inverted(self, letter: str) -> None:
        if self.not_at >= 0:
            self.fail(f"cannot have ! before {NAMES[letter]}", self.not_at)

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
                f"interface name `{value.text}' must be shorter than"
                f" {MAX_INTERFACE_BYTES + 1} characters",
                self.at - 1,
            )
        if not is_plain(value.text):
            self.refuse(
                f"interface name `{value.text}' has a blank or a quote, and could not be saved",
                self.at - 1,
            )

    def _set_counters(self, value: Word) -> None:
        packets, comma, size = value.text.partition(",")
        if not comma:
            following = self._maybe_next()
            if following is None:
                self.fail("--set-counters requires packet and byte counter")
            size = following.text
        numbers = []
        for what, text in (("packet", packets), ("byte", size)):
            found = re.match(_DECIMAL, text, re.ASCII)
            if found is None:
                self.fail(f"--set-counters {what} counter not numeric", self.at - 1)
            numbers.append(to_count(found[1]))
        self.draft.counters = Counters(*numbers)

    def _command(self, letter: str, value: Word | None) -> None:
        draft = self.draft
        if self.not_at >= 0:
            self.fail("unexpected '!' flag", self.not_at)
        if draft.letter and not self._zeroes_too(letter):
            self.fail(f"Cannot use -{letter} with -{draft.letter}")
        if value is None:
            value = self._maybe_next()
        if value is not None and not value.text and letter in _ON_ALL:  # not all chains, then
            raise TableError(NO_CHAIN, span=value.span)
        if value is not None and byte_length(value.text) > MAX_NAME_BYTES:
            self.refuse(
                f"chain name `{value.text}' too long (must be under {MAX_NAME_BYTES + 1} chars)",
                self.at - 1,
            )
        draft.letter = letter if draft.letter in ("", "Z") else draft.letter
        draft.chain = value.text if value is not None else draft.chain
        if letter in "EP" or (letter in _NUMBERED and value is not None):
            self._command_argument(letter)

    # -L and -S go with -Z, in any order.
    def _zeroes_too(self, letter: str) -> bool:
        if {letter, self.draft.letter} not in ({"L", "Z"}, {"S", "Z"}):
            return False
        self.draft.zeroes = True
        return True

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
        if letter == "D":  # which reads these otherwise: 010 is ten, and none is too large
            found = re.fullmatch(_DECIMAL, argument.text, re.ASCII)
            number = to_count(found[1]) if found else None
        if not number:
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
            self._find_protocol_match()
            found = find_option(name, self.classes)
        if found is None:
            self.fail(f'unknown option "{text}"')
        return found

    def _find_protocol_match(self) -> None:
        number = to_number(self.protocol_text, 0, 255)
        protocol = self.protocol_text if number is None else netdb.protocol_name(number)
        match_name = _MATCH_ALIASES.get(protocol or "", protocol or "")
        cls = REGISTRY.match(match_name, self.family)
        if cls is not None:
            self.protocol_loaded = True
            self._load(cls, match_name, self.option_at)

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
                number = {2: "two"}.get(option.values, option.values)
                self.fail(f"{option.name} requires {number} args.")
            values.append(following)
        return tuple(values)
