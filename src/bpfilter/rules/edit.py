"""A table being changed: the commands of iptables and iptables-restore on its chains.

What is kept of a rule is up to the table: `TableDraft` keeps the rule, firewall/revise.py a
line of text. Errors are libiptc's (iptc_strerror, libiptc/libiptc.c), with the name added.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NoReturn, TypeVar

from bpfilter.dataclass import dataclass, field, replace
from bpfilter.errors import RuleError, RuleSyntaxError, TableError
from bpfilter.rules.draft import MAX_NAME_BYTES, NO_CHAIN, VERDICTS, Command
from bpfilter.rules.model import TABLES, Chain, Counters, Family, Jump, Rule, Table
from bpfilter.rules.registry import REGISTRY
from bpfilter.rules.words import byte_length
from bpfilter.source import Span

POLICIES = ("ACCEPT", "DROP")
_SPACES = frozenset(" \t\n\v\f\r")

NO_RULE = "Bad rule (does a matching rule exist in that chain?)"

R = TypeVar("R")


@dataclass(slots=True)
class ChainDraft(Generic[R]):
    name: str
    policy: str | None = None
    counters: Counters = Counters()
    rules: list[R] = field(default_factory=list)
    span: Span | None = None
    declared: bool = True


class ChainsDraft(Generic[R]):
    """A table under construction; `chains` maps names, base chains first.

    Base chains are there from the start; their policies are declared once they are set.
    Raises TableError or RuleError from every method that changes it, and changes nothing then.
    """

    def __init__(self, name: str, family: Family) -> None:
        self.name = name
        self.family = family
        self.chains: dict[str, ChainDraft[R]] = {
            chain: ChainDraft(chain, "ACCEPT", declared=False) for chain in TABLES[name]
        }

    # What is kept of a rule; the others take what is kept.

    def _kept(self, rule: Rule, chain: str) -> R:
        raise NotImplementedError

    def _jump(self, kept: R) -> str | None:
        raise NotImplementedError

    def _renamed(self, kept: R, old: str, new: str) -> R:
        raise NotImplementedError

    def _zeroed(self, kept: R) -> R:
        raise NotImplementedError

    def own_chains(self) -> list[str]:
        """Name the user chains, sorted as libiptc keeps them."""
        base = TABLES[self.name]
        own = [name for name in self.chains if name not in base]
        # Text in ASCII sorts as its bytes do.
        own.sort(key=None if "".join(own).isascii() else _encoded)
        return own

    def chain(self, name: str, span: Span | None = None) -> ChainDraft[R]:
        found = self.chains.get(name)
        if found is None:
            raise TableError(
                NO_CHAIN, f"{NO_CHAIN}: `{name}'", span, f"*{self.name} has no such chain"
            )
        return found

    def add_chain(self, name: str, span: Span | None = None) -> None:
        """Make a user chain (iptc_create_chain)."""
        if name in self.chains or name in VERDICTS:
            exists = "Chain already exists"
            raise TableError(exists, f"error creating chain '{name}': {exists}", span)
        if byte_length(name) > MAX_NAME_BYTES:
            raise RuleError(f"Invalid chain name `{name}' ({MAX_NAME_BYTES} chars max)", span)
        if '"' in name:  # no line of a saved table could name it
            raise RuleError(f"Invalid chain name `{name}'", span, "it has a quote")
        self.chains[name] = ChainDraft(name, span=span)

    def set_policy(
        self, name: str, policy: str, counters: Counters, span: Span | None = None
    ) -> None:
        """Set a base chain's policy and counters (iptc_set_policy)."""
        chain = self.chains.get(name)
        if chain is None or chain.policy is None:
            reason = "Bad built-in chain name"
        elif policy not in POLICIES:
            reason = "Bad policy name"
        else:
            chain.policy = policy
            chain.counters = counters
            chain.declared = True
            return
        raise TableError(reason, f"Can't set policy `{policy}' on `{name}': {reason}", span)

    def apply(self, command: Command, span: Span | None = None) -> None:
        """Do what a command line says; `span` is that line's place."""
        letter, rules = command.letter, command.rules
        for rule in rules:
            if isinstance(rule.target, Jump) and rule.target.chain in TABLES[self.name]:
                name = rule.target.chain
                message = f"Invalid target name: `{name}' is a built-in chain"
                raise TableError(TableError.INVALID, message, span)
        if letter == "A":  # nearly every line of a ruleset
            kept = self.chain(command.chain, span).rules
            kept.extend([self._kept(rule, command.chain) for rule in rules])
            return
        match letter:
            case "I":
                self._insert(command, span)
            case "D":
                self._delete(command, span)
            case "R":
                self._replace(command, span)
            case "C":
                self._check(command, span)
            case "N":
                self._new(command.chain, span)
            case "P":
                self.set_policy(command.chain, command.argument, command.counters, span)
            case "F":
                for chain in self._named(command, span):
                    chain.rules.clear()
            case "Z":
                self._zero(command, span)
            case "X":
                self._remove(command, span)
            case "E":
                self._rename(command, span)
            case _:
                raise RuleSyntaxError(f"-{letter} cannot be used in a ruleset", span)

    def _insert(self, command: Command, span: Span | None) -> None:
        rules = self.chain(command.chain, span).rules
        at = int(command.argument or 1) - 1
        if at > len(rules):
            raise TableError("Index of insertion too big", span=span)
        for rule in command.rules:  # one by one at the same place, as iptables does
            rules.insert(at, self._kept(rule, command.chain))

    def _delete(self, command: Command, span: Span | None) -> None:
        if command.argument:
            rules = self.chain(command.chain, span).rules
            del rules[self._index(command, len(rules), "deletion", span)]
            return
        rules = self._rules_of(command, span)
        left = list(rules)
        for rule in command.rules:
            kept = self._kept(rule, command.chain)
            if kept not in left:
                self._no_rule(span, rule)
            left.remove(kept)
        rules[:] = left

    def _replace(self, command: Command, span: Span | None) -> None:
        rules = self.chain(command.chain, span).rules
        at = self._index(command, len(rules), "replacement", span)
        rules[at] = self._kept(command.rules[0], command.chain)

    def _index(self, command: Command, number: int, what: str, span: Span | None) -> int:
        at = int(command.argument) - 1
        if at >= number:
            raise TableError(f"Index of {what} too big", span=span)
        return at

    def _check(self, command: Command, span: Span | None) -> None:
        rules = self._rules_of(command, span)
        for rule in command.rules:
            if self._kept(rule, command.chain) not in rules:
                self._no_rule(span, rule)

    # In a chain that is not there, a rule is what is missing.
    def _rules_of(self, command: Command, span: Span | None) -> list[R]:
        if command.chain not in self.chains:
            self._no_rule(span)
        return self.chains[command.chain].rules

    # Of a rule that jumps, libiptc says that it is the chain that is missing.
    def _no_rule(self, span: Span | None, rule: Rule | None = None) -> NoReturn:
        jumps = rule is not None and isinstance(rule.target, Jump)
        raise TableError(NO_CHAIN if jumps else NO_RULE, span=span)

    def _new(self, name: str, span: Span | None) -> None:
        self._check_name(name, span)
        self.add_chain(name, span)

    # assert_valid_chain_name (iptables/xshared.c); lines `:NAME -` are not held to it.
    def _check_name(self, name: str, span: Span | None) -> None:
        if byte_length(name) > MAX_NAME_BYTES:
            most = f"must be under {MAX_NAME_BYTES + 1} chars"
            raise RuleError(f"chain name `{name}' too long ({most})", span)
        if name[:1] in ("-", "!"):
            raise RuleError(f"chain name not allowed to start with `{name[0]}'", span)
        if name in ("", *VERDICTS) or REGISTRY.find_target(name, self.family) is not None:
            raise RuleError("chain name may not clash with target name", span)
        if not _SPACES.isdisjoint(name):
            raise RuleError(f"Invalid chain name `{name}'", span)

    def _zero(self, command: Command, span: Span | None) -> None:
        if command.argument:
            rules = self.chain(command.chain, span).rules
            at = self._index(command, len(rules), "counter", span)
            rules[at] = self._zeroed(rules[at])
            return
        for chain in self._named(command, span):
            chain.counters = Counters()
            chain.rules[:] = map(self._zeroed, chain.rules)

    def _remove(self, command: Command, span: Span | None) -> None:
        wanted = [chain for chain in self._named(command, span) if chain.policy is None]
        if command.chain and not wanted:
            raise TableError(TableError.INVALID, "Can't delete built-in chain", span)
        used = {self._jump(rule) for chain in self.chains.values() for rule in chain.rules}
        wanted.sort(key=lambda chain: _encoded(chain.name))
        for chain in reversed(wanted):  # iptables tries all, and tells of the last one
            if chain.name in used:
                raise TableError("Too many links", "Can't delete chain with references left", span)
            if chain.rules:
                raise TableError("Directory not empty", span=span)
        for chain in wanted:
            del self.chains[chain.name]

    def _rename(self, command: Command, span: Span | None) -> None:
        old, new = command.chain, command.argument
        self._check_name(new, span)
        if new in self.chains:
            raise TableError("File exists", f"File exists: `{new}'", span)
        chain = self.chain(old, span)
        if chain.policy is not None:
            raise TableError(NO_CHAIN, "Can't rename built-in chain", span)
        self.add_chain(new, span)
        self.chains[new].rules = chain.rules
        del self.chains[old]
        for each in self.chains.values():
            each.rules[:] = [self._renamed(rule, old, new) for rule in each.rules]

    def _named(self, command: Command, span: Span | None) -> Iterable[ChainDraft[R]]:
        return [self.chain(command.chain, span)] if command.chain else list(self.chains.values())


class TableDraft(ChainsDraft[Rule]):
    """A table whose rules are kept as they are."""

    def _kept(self, rule: Rule, chain: str) -> Rule:  # noqa: ARG002 - a line would have it
        return rule

    def _jump(self, kept: Rule) -> str | None:
        return kept.target.chain if isinstance(kept.target, Jump) else None

    def _renamed(self, kept: Rule, old: str, new: str) -> Rule:
        if isinstance(kept.target, Jump) and kept.target.chain == old:
            return replace(kept, target=Jump(new, kept.target.goto))
        return kept

    def _zeroed(self, kept: Rule) -> Rule:
        return replace(kept, counters=Counters())

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
        chains = (self.chains[name] for name in (*TABLES[self.name], *self.own_chains()))
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
                for chain in chains
            ),
        )

    def keep_policies(self, before: Table) -> None:
        """Take over policies that have not been declared here, from what was there before."""
        for chain in before.chains:
            draft = self.chains.get(chain.name)
            if draft is not None and not draft.declared:
                draft.policy, draft.declared = chain.policy, chain.declared
                draft.counters = chain.counters


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
