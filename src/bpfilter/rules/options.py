"""One rule as command-line words, both ways."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules import netdb
from bpfilter.rules.address import format_saved
from bpfilter.rules.assemble import assemble
from bpfilter.rules.draft import Command, Draft
from bpfilter.rules.model import (
    Address,
    Counters,
    Family,
    Interface,
    Jump,
    Match,
    Rule,
    Target,
    Verdict,
)
from bpfilter.rules.quick import QuickReader
from bpfilter.rules.reader import read_words
from bpfilter.rules.registry import Context, Word
from bpfilter.rules.words import join_words, split_line, split_words
from bpfilter.source import Span


class RuleParser:
    """Reads the command lines of one table.

    `chains` are those a rule may jump to, looked at anew for each rule; None takes any.
    `look_up` puts addresses in the place of names, which otherwise are refused.
    """

    def __init__(
        self,
        family: Family,
        table: str = "filter",
        chains: Container[str] | None = None,
        look_up: Callable[[Draft], None] | None = None,
    ) -> None:
        self.look_up = look_up
        self.family = family
        self.table = table
        self.chains = chains
        self._quick = QuickReader(family, table, chains)

    def parse_words(
        self, words: Sequence[Word], counters: Counters | None = None
    ) -> Command | None:
        """Read a command; None if `-4` or `-6` says that it is for the other family.

        `counters` are those written before a rule, `[packets:bytes]`.

        Raises: RuleSyntaxError, RuleError, each with the place of the fault.
        """
        draft = read_words(words, self.family, counters)
        if draft is None:
            return None
        if self.look_up is not None:
            self.look_up(draft)
        return assemble(draft, self.table, self.chains)

    def parse_line(
        self, line: str, span: Span, offset: int = 0, counters: Counters | None = None
    ) -> Command | None:
        """Read a line of text, which starts at `offset`; otherwise as `parse_words`.

        `span` is the whole line's place, and becomes the rules'.
        """
        quick = self._quick.read(split_line(line[offset:]), counters, span)
        if quick is not None:
            return Command("A", quick[0], "", (quick[1],))
        return self.parse_words(split_words(line, span.name, span.line, offset), counters)


def parse_rule(words: Sequence[Word], context: Context) -> tuple[str, Rule]:
    """Read `-A CHAIN …`, which must make one rule; gives the chain's name and the rule.

    Raises: RuleSyntaxError, RuleError.
    """
    command = RuleParser(context.family, context.table).parse_words(words)
    if command is None or command.letter != "A" or len(command.rules) != 1:
        span = words[0].span if words else None
        raise RuleSyntaxError("one rule to append is expected here", span)
    return command.chain, command.rules[0]


def format_rule(
    rule: Rule, chain: str, family: Family, counters: bool = False, *, exact: bool = False
) -> str:
    """Give the `-A CHAIN …` line iptables-save prints, without newline; see `RuleFormatter`.

    `counters` adds them where `iptables -vS` has them, before the target.
    """
    counted = f" -c {rule.counters.packets} {rule.counters.bytes}" if counters else ""
    return RuleFormatter(family, exact=exact).line(rule, chain, counted)


class RuleFormatter:
    """Writes rules as iptables-save prints them; what many rules share is written once.

    `exact` keeps what iptables-save loses of a rule that can be enforced: `-p all`.
    """

    def __init__(self, family: Family, *, exact: bool = False) -> None:
        self.family = family
        self.exact = exact
        # Texts of matches and targets by id; `kept`, so that no other one comes to have it.
        self._texts: dict[int, str] = {}
        self._kept: list[Match | Target] = []

    def line(self, rule: Rule, chain: str, counted: str = "") -> str:
        """Give the `-A CHAIN …` line, without newline; `counted` stands before the target."""
        line = "-A " + chain
        if rule.source is not None:
            line += self._address("-s", rule.source)
        if rule.destination is not None:
            line += self._address("-d", rule.destination)
        if rule.in_interface is not None:
            line += _interface("-i", rule.in_interface)
        if rule.out_interface is not None:
            line += _interface("-o", rule.out_interface)
        if rule.protocol is not None:
            number = rule.protocol.number
            line += _sign(rule.protocol.inverted)
            line += f"-p {netdb.CHAIN_NAMES.get(number, number)}"
        elif rule.any_protocol and self.exact:
            line += " -p all"
        if rule.fragment is not None:
            line += _sign(not rule.fragment) + "-f"
        texts = self._texts
        for match in rule.matches:
            line += texts.get(id(match)) or self._part(match)
        line += counted
        target = rule.target
        return line if target is None else line + (texts.get(id(target)) or self._part(target))

    def _address(self, option: str, address: Address) -> str:
        if not any(address.mask) and not _is_saved_without_mask(address, self.family):
            return ""
        return f"{_sign(address.inverted)}{option} {format_saved(address.value, address.mask)}"

    def _part(self, part: Match | Target) -> str:
        if isinstance(part, Match):
            words = ["-m", part.NAME, *part.format(self.family)]
        else:
            words = _target_words(part, self.family)
        text = self._texts[id(part)] = " " + join_words(words)
        self._kept.append(part)
        return text


def _target_words(target: Target, family: Family) -> list[str]:
    if isinstance(target, Verdict):
        return ["-j", target.name]
    if isinstance(target, Jump):
        return ["-g" if target.goto else "-j", target.chain]
    return ["-j", target.NAME, *target.format(family)]


# IPv4 is not saved if address and mask are zero (save_ipv4_addr), IPv6 if the mask is.
def _is_saved_without_mask(address: Address, family: Family) -> bool:
    return address.inverted or (family is Family.IPV4 and any(address.value))


def _interface(option: str, interface: Interface) -> str:
    if interface.name == "+" and not interface.inverted:
        return ""
    return f"{_sign(interface.inverted)}{option} {interface.name}"


def _sign(inverted: bool) -> str:
    return " ! " if inverted else " "
