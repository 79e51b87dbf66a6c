"""A table being changed: the commands of iptables and iptables-restore on its chains.

Errors are libiptc's (iptc_strerror, libiptc/libiptc.c), with the chain's name added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from bpfilter.dataclass import dataclass, field, replace
from bpfilter.errors import RuleError, RuleSyntaxError
from bpfilter.rules.draft import MAX_NAME_BYTES, VERDICTS, Command
from bpfilter.rules.model import TABLES, Chain, Counters, Family, Jump, Rule, Table
from bpfilter.rules.registry import REGISTRY
from bpfilter.rules.words import byte_length
from bpfilter.source import Span

POLICIES = ("ACCEPT", "DROP")

_NO_CHAIN = "No chain/target/match by that name"


@dataclass(slots=True)
class ChainDraft:
    name: str
    policy: str | None = None
    counters: Counters = Counters()
    rules: list[Rule] = field(default_factory=list)
    span: Span | None = None
    declared: bool = True


class TableDraft:
    """A table under construction; `chains` maps names, base chains first.

    Base chains are there from the start; their policies are declared once they are set.
    Raises RuleError from every method that changes it, and changes nothing then.
    """

    def __init__(self, name: str, family: Family) -> None:
        self.name = name
        self.family = family
        self.chains = {
            chain: ChainDraft(chain, "ACCEPT", declared=False) for chain in TABLES[name]
        }

    @classmethod
    def of(cls, table: Table, family: Family) -> TableDraft:
        draft = cls(table.name, family)
        for chain in table.chains:
            draft.chains[chain.name] = ChainDraft(
                chain.name,
                chain.policy,
                chain.counters,
                list(chain.rules),
                chain.span,
                chain.declared,
            )
        return draft

    def table(self) -> Table:
        """Give the finished table, user chains sorted by name as libiptc keeps them."""
        base = TABLES[self.name]
        own = [name for name in self.chains if name not in base]
        # Text in ASCII sorts as its bytes do.
        own.sort(key=None if "".join(own).isascii() else _encoded)
        return Table(
            self.name,
            tuple(
                Chain(
                    chain.name,
                    tuple(chain.rules),
                    chain.policy,
                    chain.counters,
                    chain.span,
                    chain.declared,
                )
                for chain in (self.chains[name] for name in (*base, *own))
            ),
        )

    def keep_policies(self, before: Table) -> None:
        """Take over policies that have not been declared here, from what was there before."""
        for chain in before.chains:
            draft = self.chains.get(chain.name)
            if draft is not None and not draft.declared:
                draft.policy, draft.declared = chain.policy, chain.declared
                draft.counters = chain.counters

    def chain(self, name: str, span: Span | None = None) -> ChainDraft:
        found = self.chains.get(name)
        if found is None:
            raise RuleError(f"{_NO_CHAIN}: `{name}'", span, f"*{self.name} has no such chain")
        return found

    def add_chain(self, name: str, span: Span | None = None) -> None:
        """Make a user chain (iptc_create_chain)."""
        if name in self.chains or name in VERDICTS:
            raise RuleError(f"error creating chain '{name}': Chain already exists", span)
        if byte_length(name) > MAX_NAME_BYTES:
            raise RuleError(f"Invalid chain name `{name}' ({MAX_NAME_BYTES} chars max)", span)
        self.chains[name] = ChainDraft(name, span=span)

    def set_policy(
        self, name: str, policy: str, counters: Counters, span: Span | None = None
    ) -> None:
        """Set a base chain's policy and counters (iptc_set_policy)."""
        chain = self.chains.get(name)
        if chain is None or chain.policy is None:
            raise RuleError(
                f"Can't set policy `{policy}' on `{name}': Bad built-in chain name", span
            )
        if policy not in POLICIES:
            raise RuleError(f"Can't set policy `{policy}' on `{name}': Bad policy name", span)
        chain.policy = policy
        chain.counters = counters
        chain.declared = True

    def apply(self, command: Command, span: Span | None = None) -> None:
        """Do what a command line says; `span` is that line's place."""
        for rule in command.rules:
            if isinstance(rule.target, Jump) and rule.target.chain in TABLES[self.name]:
                name = rule.target.chain
                raise RuleError(f"Invalid target name: `{name}' is a built-in chain", span)
        if command.letter == "A":  # nearly every line of a ruleset
            self.chain(command.chain, span).rules.extend(command.rules)
            return
        action = _ACTIONS.get(command.letter)
        if action is None:
            raise RuleSyntaxError(f"-{command.letter} cannot be used in a ruleset", span)
        action(self, command, span)

    def _insert(self, command: Command, span: Span | None) -> None:
        rules = self.chain(command.chain, span).rules
        at = int(command.argument or 1) - 1
        if at > len(rules):
            raise RuleError("Index of insertion too big", span)
        for rule in command.rules:  # one by one at the same place, as iptables does
            rules.insert(at, rule)

    def _delete(self, command: Command, span: Span | None) -> None:
        rules = self.chain(command.chain, span).rules
        if command.argument:
            del rules[self._index(command, rules, span)]
            return
        for rule in command.rules:
            if rule not in rules:
                self._no_rule(span)
            rules.remove(rule)

    def _replace(self, command: Command, span: Span | None) -> None:
        rules = self.chain(command.chain, span).rules
        rules[self._index(command, rules, span)] = command.rules[0]

    def _index(self, command: Command, rules: list[Rule], span: Span | None) -> int:
        at = int(command.argument) - 1
        if at >= len(rules):
            raise RuleError("Index of deletion too big", span)
        return at

    def _check(self, command: Command, span: Span | None) -> None:
        rules = self.chain(command.chain, span).rules
        if not all(rule in rules for rule in command.rules):
            self._no_rule(span)

    def _no_rule(self, span: Span | None) -> NoReturn:
        raise RuleError("Bad rule (does a matching rule exist in that chain?)", span)

    # assert_valid_chain_name (iptables/xshared.c); lines `:NAME -` are not held to it.
    def _new(self, command: Command, span: Span | None) -> None:
        name = command.chain
        if name[:1] in ("-", "!"):
            raise RuleError(f"chain name not allowed to start with `{name[0]}'", span)
        if REGISTRY.find_target(name, self.family) is not None:
            raise RuleError("chain name may not clash with target name", span)
        self.add_chain(name, span)

    def _set_policy(self, command: Command, span: Span | None) -> None:
        self.set_policy(command.chain, command.argument, Counters(), span)

    def _flush(self, command: Command, span: Span | None) -> None:
        for chain in self._named(command, span):
            chain.rules.clear()

    def _zero(self, command: Command, span: Span | None) -> None:
        for chain in self._named(command, span):
            chain.counters = Counters()
            chain.rules[:] = [replace(rule, counters=Counters()) for rule in chain.rules]

    def _remove(self, command: Command, span: Span | None) -> None:
        wanted = [chain for chain in self._named(command, span) if chain.policy is None]
        if command.chain and not wanted:
            raise RuleError("Can't delete built-in chain", span)
        used = {
            rule.target.chain
            for chain in self.chains.values()
            for rule in chain.rules
            if isinstance(rule.target, Jump)
        }
        for chain in wanted:
            if chain.name in used:
                raise RuleError("Can't delete chain with references left", span)
            if chain.rules:
                raise RuleError("Directory not empty", span)
        for chain in wanted:
            del self.chains[chain.name]

    def _rename(self, command: Command, span: Span | None) -> None:
        old = self.chain(command.chain, span)
        if old.policy is not None:
            raise RuleError("Can't rename built-in chain", span)
        self.add_chain(command.argument, span)
        self.chains[command.argument].rules = old.rules
        del self.chains[command.chain]
        for chain in self.chains.values():
            chain.rules[:] = [_renamed(r, command.chain, command.argument) for r in chain.rules]

    def _named(self, command: Command, span: Span | None) -> list[ChainDraft]:
        return [self.chain(command.chain, span)] if command.chain else list(self.chains.values())


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _renamed(rule: Rule, old: str, new: str) -> Rule:
    if isinstance(rule.target, Jump) and rule.target.chain == old:
        return replace(rule, target=Jump(new, rule.target.goto))
    return rule


_ACTIONS: dict[str, Callable[[TableDraft, Command, Span | None], None]] = {
    "C": TableDraft._check,
    "D": TableDraft._delete,
    "E": TableDraft._rename,
    "F": TableDraft._flush,
    "I": TableDraft._insert,
    "N": TableDraft._new,
    "P": TableDraft._set_policy,
    "R": TableDraft._replace,
    "X": TableDraft._remove,
    "Z": TableDraft._zero,
}
