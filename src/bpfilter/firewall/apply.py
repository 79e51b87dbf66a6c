"""Put a ruleset in force: build and load all of it, then switch with one store.

Steps, each of which may be the last one that happens:
1. compile; create maps, load programs — a refusal or failure ends here, nothing changed
2. with the lock: finish or undo what an interrupted command left (`recover`)
3. pin maps and programs in the free slot, describe them in the state file
4. store the selector: from here on every packet meets the new ruleset
5. wait until no CPU runs the old one, carry its counters over, unload it (`recover` again)
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack

from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.compiler.build import Compiled
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, RuleError, StateError
from bpfilter.firewall import conntrack, counters, dispatch
from bpfilter.firewall.generation import Generation, LoadedProgram
from bpfilter.firewall.store import Store
from bpfilter.kernel.api import Kernel
from bpfilter.rules.check import check_ruleset
from bpfilter.rules.model import Family, Hook, Ruleset, Table
from bpfilter.rules.saved import format_saved, parse_saved

log = logging.getLogger(__name__)

TABLE = "filter"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A ruleset in the kernel, attached to nothing; `programs` describes what was loaded."""

    compiled: Compiled
    maps: dict[str, Map]
    programs: dict[Hook, Program]
    seconds: float


def filter_table(ruleset: Ruleset) -> Table:
    """Give the table to enforce.

    Raises: RuleError (a group's first, the others as notes) if rules are wrong, or belong
    to a table that is not enforced yet.
    """
    problems = list(check_ruleset(ruleset))
    for table, _, _, rule in ruleset.rules():
        if table.name != TABLE:
            problems.append(
                RuleError(
                    f"table '{table.name}' is not enforced by this version; keep its rules "
                    f"in {ruleset.family.command}, and apply the filter table alone",
                    rule.span,
                )
            )
    if problems:
        first, *others = problems
        for other in others:
            first.add_note(str(other))
        raise first
    found = ruleset.table(TABLE)
    if found is None:
        raise RuleError(f"there is no *{TABLE} table in this ruleset")
    return found


def load(kernel: Kernel, stack: ExitStack, compiled: Compiled, target: Target) -> Loaded:
    """Create a ruleset's maps and load its programs; the verifier has the say.

    Raises: VerifierError, RestrictedError, KernelError.
    """
    started = time.monotonic()
    maps = {
        name: stack.enter_context(Map.create(kernel, spec)) for name, spec in compiled.maps.items()
    }
    programs = {
        hook: stack.enter_context(Program.load(kernel, spec, maps, target.types))
        for hook, spec in compiled.programs.items()
    }
    return Loaded(compiled, maps, programs, time.monotonic() - started)


def apply(
    store: Store, loaded: Loaded, target: Target, *, source: str, seed: bool = False
) -> Generation:
    """Put a loaded ruleset in force; the caller holds the lock.

    `seed` gives rules that are new the counters written in the ruleset, as
    `iptables-restore --counters`; rules that stay keep theirs in any case.
    Raises: any Error; what was in force is then still in force.
    """
    compiled, family = loaded.compiled, loaded.compiled.family
    if not store.is_whole():
        store.take_apart()
    recover(store)
    old = store.slot(family)
    free = [slot for slot in dispatch.SLOTS if slot != old]
    for slot in free:
        store.drop_slot(family, slot)
    slot = free[0]
    tracked = conntrack.is_on(store.kernel, family)
    try:
        store.ensure_attached(family, target.types)
        if compiled.needs_conntrack and not tracked:
            conntrack.switch_on(family)
        store.pin_slot(family, slot, loaded.maps, loaded.programs)
        generation = _describe(loaded, slot, source, seed, target)
        store.write(generation)
    except BaseException:
        store.drop_slot(family, slot)
        if old == 0:
            store.detach(family)
        if compiled.needs_conntrack and not tracked:
            conntrack.switch_off(family)
        store.forget()
        raise
    store.tables[generation.text] = compiled.table
    store.select(family, slot)
    try:
        recover(store)
        if tracked and not compiled.needs_conntrack:
            conntrack.switch_off(family)
    except Error as error:
        log.warning(
            "the rules are in force, but clearing up after those before failed: %s; "
            "the next command that changes rules tries again",
            error,
        )
    return generation


def recover(store: Store) -> None:
    """Finish what an interrupted command began: carry counters over, unload the rest."""
    for family in dispatch.FAMILIES:
        slot = store.slot(family)
        if slot == 0 and store.was_in_force(family):
            continue  # and is to be said so, until it is put in force again or cleared
        left = [
            other for other in dispatch.SLOTS if other != slot and store.has_slot(family, other)
        ]
        current = _known(store, family)
        if left:
            store.kernel.wait_for_readers()
        if current is not None and not store.has_base(current):
            store.write_base(current, _carried(store, current))
        for other in left:
            store.drop_slot(family, other)


def _known(store: Store, family: Family) -> Generation | None:
    # What is in force but has lost its description can still be replaced; its counters go.
    try:
        return store.generation(family)
    except StateError:
        return None


def _carried(store: Store, current: Generation) -> list[int]:
    # What a ruleset in force takes over from the one before, which is still there.
    other = next(slot for slot in dispatch.SLOTS if slot != current.slot)
    old, values = Table(TABLE), list[int]()
    try:
        previous = store.read(current.family, other)
        if previous is not None:
            old, values = _table(store, previous), totals(store, previous)
    except StateError as error:
        log.warning("the counters of the rules before are lost: %s", error)
    return counters.carry(old, _table(store, current), values, current.seed)


def totals(store: Store, generation: Generation) -> list[int]:
    """Give a generation's counters: carried over plus counted since.

    Raises: StateError if what was carried over cannot be read.
    """
    return counters.add(store.read_base(generation), store.live(generation))


def current_table(store: Store, family: Family) -> Table | None:
    """Give the table in force with its counters, None if there is none."""
    generation = store.generation(family)
    if generation is None:
        return None
    if store.has_base(generation):
        values = totals(store, generation)
    else:  # a command was interrupted
        values = counters.add(_carried(store, generation), store.live(generation))
    return counters.with_counters(_table(store, generation), values)


def zero(store: Store, family: Family) -> None:
    """Set all counters to zero; packets counted meanwhile are not lost."""
    recover(store)
    generation = store.generation(family)
    if generation is not None:
        store.write_base(generation, counters.negate(store.live(generation)))
    store.forget()


def clear(store: Store, family: Family) -> bool:
    """Let everything through again and take the programs off; False if nothing was in force."""
    was_in_force = store.slot(family) != 0 or store.was_in_force(family)
    if store.slot(family):
        store.select(family, 0)
        store.kernel.wait_for_readers()
    for each in dispatch.SLOTS:
        store.drop_slot(family, each)
    store.detach(family)
    if conntrack.is_on(store.kernel, family):
        conntrack.switch_off(family)
    store.forget()
    return was_in_force


def _table(store: Store, generation: Generation) -> Table:
    known = store.tables.get(generation.text)
    if known is not None:
        return known
    ruleset = parse_saved(generation.text, f"<{generation.name}>", generation.family)
    table = ruleset.table(TABLE)
    assert table is not None
    return table


def _describe(loaded: Loaded, slot: int, source: str, seed: bool, target: Target) -> Generation:
    compiled = loaded.compiled
    programs = []
    for hook, program in loaded.programs.items():
        info = program.info()
        programs.append(
            LoadedProgram(
                hook.name,
                info.id,
                len(compiled.programs[hook].insns),
                info.xlated_bytes,
                info.jited_bytes,
                info.verified_insns,
            )
        )
    ruleset = Ruleset(compiled.family, (compiled.table,))
    return Generation(
        family=compiled.family,
        slot=slot,
        text=format_saved(ruleset, counters=True),
        source=source,
        seed=seed,
        applied_at=time.time(),
        load_s=loaded.seconds,
        rules=sum(len(chain.rules) for chain in compiled.table.chains),
        cells=compiled.cells,
        words=compiled.words,
        counters_per_cpu=compiled.counters_per_cpu,
        cpus=target.cpus,
        needs_conntrack=compiled.needs_conntrack,
        programs=tuple(programs),
    )
