"""(Ruleset, kernel types) → program and map specs: the whole compiler, pure and deterministic."""

from __future__ import annotations

from dataclasses import dataclass

from bpfilter.abi.bpf import AttachType, MapFlags, MapType, ProgramType
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.compiler.cells import CELL_BYTES, COUNTER_FIRST
from bpfilter.compiler.emit import emit_program
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.loop import CELLS_MAP, COUNTER_BYTES, COUNTERS_MAP
from bpfilter.compiler.lower import CounterKey, Lowered, lay_out, lower_table, nesting
from bpfilter.compiler.target import Target
from bpfilter.rules.model import Family, Hook, Rule, Table


@dataclass(frozen=True, slots=True)
class Compiled:
    """A table ready to load.

    `counters` are in map order after the first `COUNTER_FIRST` ones; the counters map
    holds them once per possible CPU, CPU by CPU, as pairs of u64: packets, bytes.
    """

    family: Family
    table: Table
    programs: dict[Hook, ProgramSpec]
    maps: dict[str, MapSpec]
    counters: tuple[CounterKey, ...]
    counters_per_cpu: int
    cells: int
    words: int
    needs_conntrack: bool
    #: The first rule that asks for a user or group by number: one of our user namespace.
    asks_users: Rule | None


def compile_table(table: Table, family: Family, target: Target) -> Compiled:
    """Compile a table.

    Raises: RefusedError for the first rule that cannot be enforced (the others as notes),
    UnsupportedError if the rules test more fields than fit, BuildError at a size limit.
    """
    lowered = lower_table(table, family)
    if lowered.refused:
        first, *others = lowered.refused
        for other in others:
            first.add_note(str(other))
        raise first
    return _assemble(lowered, target)


def _assemble(lowered: Lowered, target: Target) -> Compiled:
    words = frozenset[tuple[str, int]]().union(*lowered.words.values())
    layout = lay_out_frame(words, lowered.family, max(nesting(lowered.chains).values()))
    cells = b"".join([cell.pack() for cell in lay_out(lowered, layout)])
    counters = COUNTER_FIRST + len(lowered.counters)
    rules = [rule for chain in lowered.table.chains for rule in chain.rules]
    programs = {
        hook: ProgramSpec(
            name=f"rules{'6' if lowered.family is Family.IPV6 else '4'}_{hook.name.lower()}",
            type=ProgramType.NETFILTER,
            attach_type=AttachType.NETFILTER,
            insns=emit_program(
                hook,
                lowered.family,
                layout,
                wanted,
                target,
                cells=len(cells) // CELL_BYTES,
                counters=counters,
            ),
        )
        for hook, wanted in lowered.words.items()
    }
    maps = {
        CELLS_MAP: MapSpec(
            "bpf_cells", MapType.ARRAY, 4, len(cells), 1, MapFlags.MMAPABLE, contents=cells
        ),
        COUNTERS_MAP: MapSpec(
            "bpf_counters",
            MapType.ARRAY,
            4,
            counters * target.cpus * COUNTER_BYTES,
            1,
            MapFlags.MMAPABLE,
        ),
    }
    return Compiled(
        family=lowered.family,
        table=lowered.table,
        programs=programs,
        maps=maps,
        counters=lowered.counters,
        counters_per_cpu=counters,
        cells=len(cells) // CELL_BYTES,
        words=len(set(layout.slots.values())),
        needs_conntrack=any(match.TRACKS for rule in rules for match in rule.matches),
        asks_users=next((rule for rule in rules if _asks_users(rule)), None),
    )


def _asks_users(rule: Rule) -> bool:
    return any(match.asks_users() for match in rule.matches)
