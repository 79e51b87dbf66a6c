"""(Ruleset, kernel types) → program and map specs: the whole compiler, pure and deterministic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bpfilter.abi.bpf import AttachType, MapFlags, MapType, ProgramType
from bpfilter.bpf.spec import MapSpec, ProgramSpec
from bpfilter.compiler.cells import CELL_BYTES, CELLS_MAP, Cell
from bpfilter.compiler.counters import COUNTER_BYTES, COUNTER_FIRST, COUNTERS_MAP
from bpfilter.compiler.emit import emit_program
from bpfilter.compiler.frame import Frame, lay_out_frame
from bpfilter.compiler.index.search import INDEX_MAP, ChainIndex, Search
from bpfilter.compiler.lower import CounterKey, lay_out, lower_table, nesting
from bpfilter.compiler.straight import lay_out_straight
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass
from bpfilter.errors import RefusedError
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
    counters: Sequence[CounterKey]
    counters_per_cpu: int
    cells: int
    words: int
    needs_conntrack: bool
    #: The first rule that asks for a user or group by number: one of our user namespace.
    asks_users: Rule | None
    #: The chains that are searched by an index.
    indexes: tuple[ChainIndex, ...] = ()
    #: The rules are instructions of their own, not cells for a loop (straight.py).
    straight: bool = False
    #: What edit.py needs to change rules in place; empty if it cannot.
    layout: bytes = b""


@dataclass(frozen=True, slots=True)
class Code:
    """What programs are emitted from, but for the rules: cells and indexes."""

    family: Family
    frame: Frame
    words: dict[Hook, frozenset[tuple[str, int]]]
    counters: int  # of one CPU
    search: Search | None = None
    #: Hooks that lead to a chain with an index: the other programs do without the search.
    searching: frozenset[Hook] = frozenset()
    #: Cells that become instructions; if there are none, the loop evaluates those in the map.
    straight: tuple[Cell, ...] = ()


def compile_table(
    table: Table, family: Family, target: Target, *, straight: bool = True
) -> Compiled:
    """Compile a table; without `straight`, small ones too become cells for the loop.

    Raises: RefusedError for the first rule that cannot be enforced (the others as notes),
    UnsupportedError if the rules test more fields than fit, BuildError at a size limit.
    """
    lowered = lower_table(table, family)
    refuse(lowered.refused)
    words = frozenset[tuple[str, int]]().union(*lowered.words.values())
    frame = lay_out_frame(words, family, max(nesting(lowered.chains).values()))
    cells = b"".join([cell.pack() for cell in lay_out(lowered, frame)])
    code = Code(
        family,
        frame,
        lowered.words,
        COUNTER_FIRST + len(lowered.counters),
        straight=lay_out_straight(lowered, frame) if straight else (),
    )
    rules = [rule for chain in table.chains for rule in chain.rules]
    return assemble(code, target, table, lowered.counters, rules, cells)


def refuse(refused: Sequence[RefusedError]) -> None:
    """Raise the first of some refusals, the others as its notes; nothing if there is none."""
    if refused:
        first, *others = refused
        for other in others:
            first.add_note(str(other))
        raise first


def assemble(
    code: Code,
    target: Target,
    table: Table,
    counters: Sequence[CounterKey],
    rules: Iterable[Rule],
    cells: bytes,
    index: bytes = b"",
    indexes: tuple[ChainIndex, ...] = (),
    used: int | None = None,
    layout: bytes = b"",
) -> Compiled:
    """Put programs and maps together; `rules` are those that say what the table needs, `used`
    is how many cells are in use (all)."""
    sizes = {CELLS_MAP: len(cells), COUNTERS_MAP: code.counters * target.cpus * COUNTER_BYTES}
    contents = {CELLS_MAP: cells}
    if index:
        sizes[INDEX_MAP], contents[INDEX_MAP] = len(index), index
    users = (rule for rule in rules if any(match.asks_users() for match in rule.matches))
    return Compiled(
        family=code.family,
        table=table,
        programs={
            hook: program(code, target, hook, len(cells) // CELL_BYTES) for hook in code.words
        },
        maps={
            name: MapSpec(
                f"bpf_{name}", MapType.ARRAY, 4, size, 1, MapFlags.MMAPABLE, contents.get(name)
            )
            for name, size in sizes.items()
        },
        counters=counters,
        counters_per_cpu=code.counters,
        cells=len(cells) // CELL_BYTES if used is None else used,
        words=len(set(code.frame.slots.values())),
        needs_conntrack=any(match.TRACKS for rule in rules for match in rule.matches),
        asks_users=next(users, None),
        indexes=indexes,
        straight=bool(code.straight),
        layout=layout,
    )


def program(code: Code, target: Target, hook: Hook, cells: int) -> ProgramSpec:
    """Give the program of a hook that reads so many cells."""
    return ProgramSpec(
        name=f"rules{'6' if code.family is Family.IPV6 else '4'}_{hook.name.lower()}",
        type=ProgramType.NETFILTER,
        attach_type=AttachType.NETFILTER,
        insns=emit_program(
            hook,
            code.family,
            code.frame,
            code.words[hook],
            target,
            cells=cells,
            counters=code.counters,
            search=code.search if hook in code.searching else None,
            straight=code.straight,
        ),
    )
