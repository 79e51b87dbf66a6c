"""What is wrong with a ruleset as a whole: all faults at once.

These are what iptables refuses only when it commits a table: libiptc's resolving of
targets, and the kernel's walk from each hook (mark_source_chains in
net/ipv4/netfilter/ip_tables.c), which refuses loops only where a hook can reach them.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfilter.errors import RuleError, TableError
from bpfilter.rules.draft import MAX_NAME_BYTES, VERDICTS
from bpfilter.rules.model import TABLES, Chain, Jump, Match, Rule, Ruleset, Table, Target, Verdict
from bpfilter.rules.words import byte_length


def check_ruleset(ruleset: Ruleset) -> list[RuleError]:
    """Give every fault of every table; an empty list means iptables would take it."""
    return [error for table in ruleset.tables for error in check_table(table)]


def check_table(table: Table) -> list[RuleError]:
    """Give every fault of one table: its name, its chains, where rules jump, and loops."""
    base = TABLES.get(table.name)
    if base is None:
        return [RuleError(f"unable to initialize table '{table.name}'")]
    errors = list(_chain_errors(table, base))
    jumps = list(_jump_errors(table, base))
    return errors + (jumps or list(_loops(table, base)) or list(_place_errors(table, base)))


def is_unconditional(rule: Rule) -> bool:
    """True if a rule takes every packet by having no condition at all."""
    return not (
        rule.matches
        or rule.source
        or rule.destination
        or rule.in_interface
        or rule.out_interface
        or rule.protocol
        or rule.any_protocol
        or rule.fragment is not None
    )


def _chain_errors(table: Table, base: tuple[str, ...]) -> Iterator[RuleError]:
    seen: set[str] = set()
    for chain in table.chains:
        name = chain.name
        if name in seen or name in VERDICTS:
            yield RuleError(f"error creating chain '{name}': Chain already exists", chain.span)
        seen.add(name)
        if byte_length(name) > MAX_NAME_BYTES or not name:
            yield RuleError(
                f"Invalid chain name `{name}' ({MAX_NAME_BYTES} chars max)", chain.span
            )
        if name not in base and chain.policy is not None:
            yield RuleError(
                f"Can't set policy `{chain.policy}' on `{name}': Bad built-in chain name",
                chain.span,
            )
        if name in base and chain.policy not in ("ACCEPT", "DROP"):
            yield RuleError(
                f"Can't set policy `{chain.policy}' on `{name}': Bad policy name", chain.span
            )
    for name in base:
        if name not in seen:
            yield RuleError(f"table '{table.name}' has no chain `{name}'")


def _jump_errors(table: Table, base: tuple[str, ...]) -> Iterator[RuleError]:
    names = {chain.name for chain in table.chains}
    for chain in table.chains:
        for rule in chain.rules:
            if not isinstance(rule.target, Jump):
                continue
            to = rule.target.chain
            if to in base:
                message = f"Invalid target name: `{to}' is a built-in chain"
                yield TableError(TableError.INVALID, message, rule.span)
            elif to not in names:
                yield RuleError(f"Couldn't load target `{to}'", rule.span, "no such chain")


# Walks with a stack of its own: nesting is as deep as the ruleset says.
def _loops(table: Table, base: tuple[str, ...]) -> Iterator[RuleError]:
    chains = {chain.name: chain for chain in table.chains}
    done: set[str] = set()
    for start in base:
        if start not in chains:
            continue
        path: dict[str, Iterator[Rule]] = {start: _followed(chains[start])}
        while path:
            name = next(reversed(path))
            rule = next(path[name], None)
            if rule is None:
                del path[name]
                done.add(name)
                continue
            assert isinstance(rule.target, Jump)
            to = rule.target.chain
            if to in path:
                names = list(path)
                circle = " → ".join([*names[names.index(to) :], to][-8:])
                yield TableError(TableError.LOOP, f"this jump makes a loop: {circle}", rule.span)
            elif to not in done:
                path[to] = _followed(chains[to])


# Extensions that may not be reached from where they are reached from.
def _place_errors(table: Table, base: tuple[str, ...]) -> Iterator[RuleError]:
    chains = {chain.name: chain for chain in table.chains}
    for start in base:
        reached = {start: chains[start]} if start in chains else {}
        waiting = list(reached.values())
        while waiting:
            for rule in visited(waiting.pop()):
                target = rule.target
                if isinstance(target, Jump) and target.chain not in reached:
                    reached[target.chain] = chains[target.chain]
                    waiting.append(chains[target.chain])
                yield from _misplaced(rule, start)


def _misplaced(rule: Rule, start: str) -> Iterator[RuleError]:
    parts: list[Match | Target] = [*rule.matches]
    parts += [rule.target] if rule.target is not None else []
    for part in parts:
        allowed = part.chains()
        if allowed and start not in allowed:
            places = " and ".join(allowed)
            yield TableError(
                TableError.INVALID,
                f'{part.NAME}: only valid in {places}, but "{start}" leads here',
                rule.span,
            )


def _followed(chain: Chain) -> Iterator[Rule]:
    return (rule for rule in visited(chain) if isinstance(rule.target, Jump))


def visited(chain: Chain) -> Iterator[Rule]:
    """Walk the rules that packets can get to: up to an unconditional verdict."""
    for rule in chain.rules:
        yield rule
        if isinstance(rule.target, Verdict) and is_unconditional(rule):
            return
