"""Table → cells: chains laid out, jumps resolved, counters numbered.

A chain that is jumped to pushes a return point on the program's small stack.
Chains nested deeper than that stack are laid out once more for each place that
jumps to them, with the return point written in, so that any depth works without
more memory per packet; copies of a rule share its counter.
"""

from __future__ import annotations

from typing import TypeVar

from bpfilter.compiler.cells import Assembler, Cell, Op
from bpfilter.compiler.counters import COUNTER_FIRST, COUNTER_NONE
from bpfilter.compiler.frame import Frame
from bpfilter.compiler.header import condition
from bpfilter.dataclass import dataclass, field
from bpfilter.errors import BuildError, RefusedError
from bpfilter.plan.fields import DOOMED
from bpfilter.plan.nodes import Contains, Guard, Not, Predicate, Test
from bpfilter.rules.check import visited
from bpfilter.rules.model import Chain, Family, Hook, Jump, Rule, Table, Verdict

#: Cells that copies of deeply nested chains may take, beyond which the rules are refused.
MAX_COPIED_CELLS = 1 << 20
#: More cells than this are refused (128 MiB of rules): copies of deep chains could explode.
MAX_CELLS = 1 << 23

HOOK_CELLS = len(Hook)

_Name = TypeVar("_Name", str, int)


@dataclass(frozen=True, slots=True)
class CounterKey:
    """What a counter belongs to: rule `number` (from 1) of a chain, or its policy (0)."""

    chain: str
    number: int


@dataclass(frozen=True, slots=True)
class LoweredRule:
    condition: Predicate
    rule: Rule
    counter: int
    #: Packet words asked for: (field name, word).
    words: frozenset[tuple[str, int]]

    @property
    def has_late_guard(self) -> bool:
        return (DOOMED.name, 0) in self.words


@dataclass(frozen=True, slots=True)
class Lowered:
    """A table as conditions: the input to laying out cells, and what the program must read.

    `chains` are those that a hook leads to, with the rules that packets can get to. What lies
    beyond may well go in circles (mark_source_chains does not look there), and has nothing
    but its counters.
    """

    family: Family
    table: Table
    chains: dict[str, tuple[LoweredRule, ...]]
    counters: tuple[CounterKey, ...]
    refused: tuple[RefusedError, ...]
    #: Packet words asked for by chains reachable from each hook: (field name, word).
    words: dict[Hook, frozenset[tuple[str, int]]] = field(default_factory=dict)


def lower_table(table: Table, family: Family) -> Lowered:
    """Give every rule its condition and counter; collect what cannot be enforced."""
    refused: list[RefusedError] = []
    chains: dict[str, tuple[LoweredRule, ...]] = {}
    keys = [CounterKey(chain.name, 0) for chain in table.chains if chain.policy is not None]
    for chain in table.chains:
        lowered = []
        live = len(list(visited(chain)))
        for number, rule in enumerate(chain.rules, 1):
            counter = COUNTER_FIRST + len(keys)
            keys.append(CounterKey(chain.name, number))
            try:
                check_target(rule)
                asked = condition(rule, family)
                made = LoweredRule(asked, rule, counter, asked_words(asked))
            except RefusedError as error:
                refused.append(RefusedError(error.message, error.span or rule.span, error.hint))
                continue
            if number <= live:
                lowered.append(made)
        chains[chain.name] = tuple(lowered)
    reached = {
        Hook[chain.name]: _reachable(chain.name, chains)
        for chain in table.chains
        if chain.policy is not None
    }
    words = {
        hook: frozenset[tuple[str, int]]().union(
            *(rule.words for name in names for rule in chains[name])
        )
        for hook, names in reached.items()
    }
    in_use = {name: chains[name] for names in reached.values() for name in names}
    return Lowered(family, table, in_use, tuple(keys), tuple(refused), words)


def check_target(rule: Rule) -> None:
    """Raise RefusedError if a rule's target cannot be enforced."""
    target = rule.target
    if target is None or isinstance(target, Jump):
        return
    if isinstance(target, Verdict):
        if target.name in ("ACCEPT", "DROP", "RETURN"):
            return
        raise RefusedError(f"target '{target.name}' cannot be enforced as eBPF", rule.span)
    raise RefusedError(
        f"target '{target.NAME}' cannot be enforced as eBPF in this version", rule.span
    )


def _reachable(start: str, chains: dict[str, tuple[LoweredRule, ...]]) -> list[str]:
    found, todo = {start: None}, [start]
    while todo:
        for lowered in chains[todo.pop()]:
            target = lowered.rule.target
            if isinstance(target, Jump) and target.chain not in found:
                found[target.chain] = None
                todo.append(target.chain)
    return list(found)


def asked_words(part: Predicate) -> frozenset[tuple[str, int]]:
    """Give every (field name, word) a predicate asks for."""
    words: set[tuple[str, int]] = set()
    todo = [part]
    while todo:
        part = todo.pop()
        if isinstance(part, Test):
            words.add((part.field.name, part.word))
        elif isinstance(part, Contains):
            words.update((part.field.name, word) for word in range(part.field.words))
        elif isinstance(part, Guard):
            words.add((part.field.name, 0))
            if part.late:
                words.add((DOOMED.name, 0))
        elif isinstance(part, Not):
            todo.append(part.part)
        else:
            todo.extend(part.parts)
    return frozenset(words)


def nesting(chains: dict[str, tuple[LoweredRule, ...]]) -> dict[str, int]:
    """Give the largest number of return points held while in each chain."""
    callees: dict[str, set[tuple[str, int]]] = {
        name: {
            (rule.rule.target.chain, 0 if rule.rule.target.goto else 1)
            for rule in rules
            if isinstance(rule.rule.target, Jump)
        }
        for name, rules in chains.items()
    }
    return depths(callees)


def depths(callees: dict[_Name, set[tuple[_Name, int]]]) -> dict[_Name, int]:
    """Give the largest number of return points held in each chain, from where each leads to
    and how many return points that takes (loops are refused before, so this ends)."""
    waiting = dict.fromkeys(callees, 0)
    for targets in callees.values():
        for name, _ in targets:
            waiting[name] += 1
    depth = dict.fromkeys(callees, 0)
    ready = [name for name, count in waiting.items() if count == 0]
    while ready:
        name = ready.pop()
        for target, pushes in callees[name]:
            depth[target] = max(depth[target], depth[name] + pushes)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return depth


#: A laid-out chain: its name, and where RETURN goes if that is written in (a cell index).
Instance = tuple[str, int | None]


class _Layout:
    """Lays out chain after chain; jumps to chains not yet laid out are patched at the end."""

    def __init__(self, lowered: Lowered, frame: Frame) -> None:
        self.lowered = lowered
        self.returns = frame.returns
        self.assembler = Assembler(frame.places)
        self.copied = 0
        self.depth = nesting(lowered.chains)
        self.start: dict[Instance, int] = {}
        self.todo: list[Instance] = []
        self.patches: list[tuple[int, Instance]] = []

    def run(self) -> list[Cell]:
        cells = self.assembler.cells
        cells.extend(Cell(Op.ENTRY) for _ in Hook)
        index_of = {key: COUNTER_FIRST + n for n, key in enumerate(self.lowered.counters)}
        for chain in self.lowered.table.chains:
            if chain.policy is not None:
                entry = cells[Hook[chain.name]]
                entry.lo = self.assembler.here
                self._chain((chain.name, None))
                entry.hi = self.assembler.here
                policy = Op.ACCEPT if chain.policy == "ACCEPT" else Op.DROP
                cells.append(Cell(policy, lo=index_of[CounterKey(chain.name, 0)]))
        while self.todo:
            instance = self.todo.pop()
            if instance not in self.start:
                self._chain(instance)
                self._return(instance, COUNTER_NONE)
        for index, instance in self.patches:
            cells[index].hi = self.start[instance]
        return cells

    def _chain(self, instance: Instance) -> None:
        start = self.start[instance] = self.assembler.here
        for lowered in self.lowered.chains[instance[0]]:
            fail: list[int] = []
            self.assembler.jump_if(lowered.condition, False, fail, fail)
            if lowered.has_late_guard:
                self._act_unless_doomed(lowered, instance, fail)
            else:
                self._act(lowered, lowered.counter, instance)
                self.assembler.land(fail)
            if self.assembler.here > MAX_CELLS:
                raise BuildError(f"the rules need more than {MAX_CELLS} cells", lowered.rule.span)
        if instance[1] is not None:
            self.copied += self.assembler.here - start
        if self.copied > MAX_COPIED_CELLS:
            raise BuildError(
                f"chains are nested {max(self.depth.values())} deep along too many ways, and only "
                f"{self.returns} return points fit; jump less deep",
                self.lowered.table.chain(instance[0]).span,
            )

    def _act_unless_doomed(
        self, lowered: LoweredRule, instance: Instance, fail: list[int]
    ) -> None:
        # Counted first, and dropped before its target, or where the rule fails.
        self.assembler.add(Cell(Op.CONTINUE, lo=lowered.counter))
        alive = [self.assembler.guard(DOOMED)]
        self.assembler.land(alive)
        self._act(lowered, COUNTER_NONE, instance)
        self.assembler.land(fail)
        alive = [self.assembler.guard(DOOMED)]
        self.assembler.land(alive)

    def _act(self, lowered: LoweredRule, counter: int, instance: Instance) -> None:
        target = lowered.rule.target
        add = self.assembler.add
        if target is None:
            add(Cell(Op.CONTINUE, lo=counter))
        elif isinstance(target, Jump):
            self._jump(target, counter, instance)
        else:
            assert isinstance(target, Verdict)
            if target.name == "RETURN":
                self._return(instance, counter)
            else:
                add(Cell(Op[target.name], lo=counter))

    def _jump(self, target: Jump, counter: int, instance: Instance) -> None:
        name, back = instance
        here = self.assembler.here
        if target.goto:
            op, to = Op.GOTO, (target.chain, back)
        elif self.depth[name] < self.returns and back is None:
            op, to = Op.JUMP, (target.chain, None)
        else:
            op, to = Op.GOTO, (target.chain, here + 1)
        self.assembler.add(Cell(op, lo=counter))
        self.patches.append((here, to))
        self.todo.append(to)

    def _return(self, instance: Instance, counter: int) -> None:
        if instance[1] is None:
            self.assembler.add(Cell(Op.RETURN, lo=counter))
        else:
            self.assembler.add(Cell(Op.GOTO, lo=counter, hi=instance[1]))


def lay_out(lowered: Lowered, frame: Frame) -> list[Cell]:
    """Give the cells of a table; the first `HOOK_CELLS` are the entries of the hooks.

    Raises: BuildError if a rule or the whole is larger than cells can address.
    """
    return _Layout(lowered, frame).run()


def base_chains(table: Table) -> dict[Hook, Chain]:
    return {Hook[chain.name]: chain for chain in table.chains if chain.policy is not None}
