"""What a ruleset does with a packet: the compiled programs, run in the interpreter.

    simulator = Simulator(parse_saved(text, "rules.v4", Family.IPV4))
    result = simulator.run("tcp 192.0.2.7:40000 > 198.51.100.9:22 syn", in_interface="eth0")
    result.verdict, [step.text for step in result.path]

The programs are the ones the kernel would load, for a kernel whose structs are laid out
by a table that comes with this package; no kernel is asked. The path is the order in
which a program counts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum

from bpfilter.abi.bpf import MapType
from bpfilter.abi.helpers import Helper
from bpfilter.asm.interp import Machine
from bpfilter.asm.memory import Memory
from bpfilter.asm.models import ArrayModel
from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.build import Compiled, compile_table
from bpfilter.compiler.counters import COUNTER_ABORTED, COUNTER_BYTES, COUNTER_FIRST, COUNTERS_MAP
from bpfilter.compiler.loop import NF_ACCEPT
from bpfilter.compiler.lower import CounterKey, lower_table
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import Error, RuleError
from bpfilter.rules.check import check_ruleset
from bpfilter.rules.model import Hook, Rule, Ruleset, Table, Verdict
from bpfilter.rules.options import format_rule
from bpfilter.simulate.connection import HZ, JIFFIES
from bpfilter.simulate.facts import Asked
from bpfilter.simulate.kfuncs import CutShortError, kfuncs
from bpfilter.simulate.layouts import bundled_types
from bpfilter.simulate.packet import Connection, Packet, State, Surroundings
from bpfilter.simulate.partial import Partial, cut_refused
from bpfilter.simulate.routes import LocalAddress
from bpfilter.simulate.text import parse_packet
from bpfilter.simulate.world import World

TABLE = "filter"
#: Loops of a verified program end by themselves; 100,000 rules take some 2 million.
BUDGET = 1 << 40


class Outcome(StrEnum):
    """A verdict; UNDECIDED if it depends on what cannot be simulated."""

    ACCEPT = "ACCEPT"
    DROP = "DROP"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that matched; `number` counts from 1 in its chain, 0 is the chain's policy.

    With a `doubt`, it is not known whether the rule matched, and that is why.
    """

    chain: str
    number: int
    text: str
    rule: Rule | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a packet; `reason` is there if the last step does not tell it."""

    verdict: Outcome
    hook: Hook
    path: tuple[Step, ...]
    reason: str = ""


class Simulator:
    """A filter table, compiled, with a world to run in; counters add up from run to run.

    `local` are this machine's addresses, which only `-m addrtype` asks for (None: not
    known). With `partial`, packets that reach a rule which cannot be enforced are
    UNDECIDED; without, a ruleset with such rules is refused. `linear` bytes of each
    packet lie in one piece, None for all. Without `straight`, small tables too are evaluated
    by the loop. `types` are those of a kernel to compile for.
    Raises: RuleError, RefusedError, BuildError, UnsupportedError.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        *,
        local: Sequence[LocalAddress] | None = None,
        partial: bool = False,
        cpus: int = 1,
        linear: int | None = None,
        straight: bool = True,
        types: KernelTypes | None = None,
    ) -> None:
        if sys.byteorder != "little":
            raise Error("rules can only be simulated on a little-endian machine")
        self.family = ruleset.family
        self.table, self.other_tables = _filter_table(ruleset)
        self.local = None if local is None else tuple(local)
        types = types or bundled_types()
        #: The rules as they are evaluated, and what that leaves out.
        self.partial = cut_refused(self.table, self.family) if partial else Partial(self.table)
        table = self.partial.table
        target = Target(types, cpus, HZ)
        self.compiled = compile_table(table, self.family, target, straight=straight)
        words = lower_table(table, self.family).words
        self.asked = {hook: Asked(hook, words[hook]) for hook in self.compiled.programs}
        self.memory = Memory()
        self.world = World(self.memory, types, linear)
        self.world.tracks = any(asked.connection() for asked in self.asked.values())
        if self.local is not None:
            self.world.set_local(self.local)
        self._cpu = 0
        self._counted: list[int] = []
        self._maps = _models(self.memory, self.compiled)
        self._maps[COUNTERS_MAP].observe(self._count)
        self._kfuncs = kfuncs(self.world)
        self._machines: dict[Hook, Machine] = {}
        self._steps: dict[int, Step] = {}

    def run(
        self,
        packet: Packet | bytes | str,
        hook: Hook | None = None,
        *,
        in_interface: str | None = None,
        out_interface: str | None = None,
        state: State | str | None = None,
        around: Surroundings | None = None,
    ) -> Result:
        """Run a packet (its text, or bytes from the network header) through a hook's rules.

        Without `hook`, the interfaces tell it: both FORWARD, one INPUT or OUTPUT. `around`
        holds what else is known; the other arguments take precedence.
        Raises: SourceError if the text is wrong, MissingFactError if the rules ask what was
        not told.
        """
        if isinstance(packet, str):
            packet = parse_packet(packet, self.family)
        elif isinstance(packet, bytes):
            packet = Packet(packet)
        around = around or Surroundings()
        if in_interface is not None or out_interface is not None or state is not None:
            around = _told(around, in_interface, out_interface, state)
        if hook is None:
            hook = infer_hook(around)
        self.asked_at(hook).require(around, self.local)
        return self._run(packet, hook, around)

    def asked_at(self, hook: Hook) -> Asked:
        """Say what the rules of a hook ask. Raises: RuleError if there are none there."""
        found = self.asked.get(hook)
        if found is None:
            raise RuleError(f"table {TABLE} has no rules at {hook.name}")
        return found

    def totals(self) -> list[int]:
        """Give all counters, packets and bytes in turn, in the order of the map."""
        data = bytes(self._maps[COUNTERS_MAP].values.data)
        per_cpu = self.compiled.counters_per_cpu * 2
        numbers = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
        return [sum(numbers[index::per_cpu]) for index in range(per_cpu)]

    def _run(self, packet: Packet, hook: Hook, around: Surroundings) -> Result:
        self._counted.clear()
        self._cpu = around.cpu or 0
        self.world.enter(packet, hook, around)
        try:
            accepted = self._machine(hook).run(self.world.context) & 0xFFFF_FFFF == NF_ACCEPT
        except CutShortError as error:
            return Result(Outcome.UNDECIDED, hook, self._path(), str(error))
        path = self._path()
        for step in path:
            if step.doubt and CounterKey(step.chain, step.number) in self.partial.stops:
                return Result(Outcome.UNDECIDED, hook, path, step.doubt)
        if accepted:
            return Result(Outcome.ACCEPT, hook, path)
        return Result(Outcome.DROP, hook, path, self._drop_reason(path))

    def _machine(self, hook: Hook) -> Machine:
        if hook not in self._machines:
            self._machines[hook] = Machine(
                self.compiled.programs[hook].insns,
                self._maps,
                {
                    Helper.JIFFIES64: lambda _machine, _args: JIFFIES,
                    Helper.GET_SMP_PROCESSOR_ID: lambda _machine, _args: self._cpu,
                },
                self._kfuncs,
                self.memory,
                budget=BUDGET,
            )
        return self._machines[hook]

    def _count(self, offset: int) -> None:
        # Packets are counted first, bytes eight bytes further.
        if offset % COUNTER_BYTES == 0:
            self._counted.append(offset // COUNTER_BYTES % self.compiled.counters_per_cpu)

    def _path(self) -> tuple[Step, ...]:
        return tuple([self._step(index) for index in self._counted if index >= COUNTER_FIRST])

    def _step(self, index: int) -> Step:
        found = self._steps.get(index)
        if found is None:
            found = self._make_step(self.compiled.counters[index - COUNTER_FIRST])
            self._steps[index] = found
        return found

    def _make_step(self, key: CounterKey) -> Step:
        chain = self.table.chain(key.chain)
        if key.number == 0:
            return Step(chain.name, 0, f"-P {chain.name} {chain.policy}")
        rule = chain.rules[key.number - 1]
        refused = self.partial.stops.get(key) or self.partial.open.get(key)
        doubt = "" if refused is None else refused.message
        return Step(
            chain.name, key.number, format_rule(rule, chain.name, self.family), rule, doubt
        )

    def _drop_reason(self, path: tuple[Step, ...]) -> str:
        if COUNTER_ABORTED in self._counted:
            return "the packet cannot be read"
        if path and self._drops(path[-1]):
            return ""
        return "a match drops packets whose headers are cut short or wrong"

    def _drops(self, step: Step) -> bool:
        if step.number == 0:
            return self.table.chain(step.chain).policy == Outcome.DROP
        rule = self.partial.table.chain(step.chain).rules[step.number - 1]
        return rule.target == Verdict("DROP")


def infer_hook(around: Surroundings) -> Hook:
    """Tell the hook by the interfaces given. Raises: RuleError if none is."""
    if around.in_interface is not None:
        return Hook.INPUT if around.out_interface is None else Hook.FORWARD
    if around.out_interface is not None:
        return Hook.OUTPUT
    raise RuleError("say where the packet is met: --in NAME, --out NAME, both, or --hook")


def _told(
    around: Surroundings,
    in_interface: str | None,
    out_interface: str | None,
    state: State | str | None,
) -> Surroundings:
    connection = around.connection
    if state is not None:
        try:
            connection = replace(connection or Connection(), state=State(state))
        except ValueError as error:
            raise RuleError(f"no connection state '{state}': {', '.join(State)}") from error
    return replace(
        around,
        in_interface=in_interface if in_interface is not None else around.in_interface,
        out_interface=out_interface if out_interface is not None else around.out_interface,
        connection=connection,
    )


def _filter_table(ruleset: Ruleset) -> tuple[Table, tuple[str, ...]]:
    # Give the table, and the names of others that have rules.
    problems = check_ruleset(ruleset)
    if problems:
        first, *others = problems
        for other in others:
            first.add_note(str(other))
        raise first
    found = ruleset.table(TABLE)
    if found is None:
        raise RuleError(f"there is no *{TABLE} table in this ruleset")
    others_with_rules = {table.name for table, _, _, _ in ruleset.rules() if table.name != TABLE}
    return found, tuple(sorted(others_with_rules))


def _models(memory: Memory, compiled: Compiled) -> dict[str, ArrayModel]:
    models = {}
    for name, spec in compiled.maps.items():
        assert spec.type is MapType.ARRAY, name
        models[name] = ArrayModel(
            memory, name, spec.value_bytes, spec.entries, spec.contents or b""
        )
    return models
