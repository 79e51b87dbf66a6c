"""One rule as command-line words, both ways."""

from __future__ import annotations

from collections.abc import Container, Sequence

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules import netdb
from bpfilter.rules.address import format_saved
from bpfilter.rules.assemble import assemble
from bpfilter.rules.draft import Command
from bpfilter.rules.model import Address, Counters, Family, Jump, Rule, Target, Verdict
from bpfilter.rules.quick import QuickReader
from bpfilter.rules.reader import read_words
from bpfilter.rules.registry import Context, Word
from bpfilter.rules.words import join_words, split_line, split_words
from bpfilter.source import Span


class RuleParser:
    """Reads the command lines of one table.

    `chains` are those a rule may jump to, looked at anew for each rule; None takes any.
    """

    def __init__(
        self, family: Family, table: str = "filter", chains: Container[str] | None = None
    ) -> None:
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
        return None if draft is None else assemble(draft, self.table, self.chains)

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
    """Give the `-A CHAIN …` line iptables-save prints, without newline.

    `counters` adds them where `iptables -vS` has them, before the target. `exact` keeps what
    iptables-save loses of a rule that can be enforced: `-p all`.
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
    elif rule.any_protocol and exact:
        words += ["-p", "all"]
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
