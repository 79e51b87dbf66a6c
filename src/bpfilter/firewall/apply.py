"""Put a ruleset in force: build and load all of it, then switch with one store.

Steps, each of which may be the last one that happens:
1. compile; create maps, load programs — a refusal or failure ends here, nothing changed
2. with the lock: finish or undo what an interrupted command left (`recover`)
3. pin maps and programs in the free slot, describe them in the state file
4. store the selector: from here on every packet meets the new ruleset
5. wait until no CPU runs the old one, carry its counters over, unload it (`recover` again)
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import ProgramSpec
from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, StateError
from bpfilter.firewall import conntrack, counters, dispatch
from bpfilter.firewall.generation import Generation, LoadedProgram, SearchedChain
from bpfilter.firewall.records import Records
from bpfilter.firewall.store import Store
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family, Hook

# An edit of few rules (edit.py) takes no compiler, and little longer than its import would.
if TYPE_CHECKING:
    from bpfilter.compiler.build import Compiled
    from bpfilter.compiler.target import Target
    from bpfilter.firewall.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Loaded:
    """A ruleset's maps and programs in the kernel, attached to nothing."""

    maps: dict[str, Map]
    programs: dict[Hook, Program]
    seconds: float


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
    return Loaded(maps, programs, time.monotonic() - started)


def apply(
    store: Store,
    prepared: Prepared,
    loaded: Loaded,
    target: Target,
    *,
    source: str,
    seed: bool = False,
    origin: array[int] | None = None,
) -> Generation:
    """Put a loaded ruleset in force; the caller holds the lock.

    `seed` gives rules that are new the counters written in the ruleset, as
    `iptables-restore --counters`; rules that stay keep theirs in any case. `origin` says which
    these are (Records.origin), or else equal ones are.
    Raises: any Error; what was in force is then still in force.
    """
    compiled, family = prepared.compiled, prepared.compiled.family
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
        store.ensure_attached(family)
        if compiled.needs_conntrack and not tracked:
            conntrack.switch_on(family)
        store.pin_slot(family, slot, loaded.maps, loaded.programs)
        generation = _describe(prepared, loaded, slot, source, seed, origin is not None, target)
        size = counters.PAIR_BYTES * compiled.counters_per_cpu
        store.records.write(
            generation,
            prepared.lines.text,
            order=prepared.order,
            traits=prepared.traits,
            origin=origin,
            seed=prepared.written.ljust(size, b"\0") if seed else b"",
            layout=prepared.layout,
        )
    except BaseException:
        store.drop_slot(family, slot)
        if old == 0:
            store.detach(family)
        if compiled.needs_conntrack and not tracked:
            conntrack.switch_off(family)
        store.forget()
        raise
    store.select(family, slot)
    with clearing_up():
        recover(store)
        if tracked and not compiled.needs_conntrack:
            conntrack.switch_off(family)
    return generation


@contextmanager
def clearing_up() -> Iterator[None]:
    """Let what fails once new rules are in force be a warning: nobody can go back from there."""
    try:
        yield
    except Error as error:
        _warn(
            "the rules are in force, but clearing up after those before failed: %s; "
            "the next command that changes rules tries again",
            error,
        )


def recover(store: Store) -> None:
    """Finish what an interrupted command began: carry counters over, unload the rest."""
    for family in dispatch.FAMILIES:
        slot = store.slot(family)
        if slot == 0 and store.was_in_force(family):
            continue  # and is to be said so, until it is put in force again or cleared
        current = _known(store, family)
        left = [
            other for other in dispatch.SLOTS if other != slot and _is_left(store, family, other)
        ]
        edited = [other for other in left if current and _is_edited(store, current, other)]
        if left != edited:
            store.kernel.wait_for_readers()
        if current is not None and not store.records.has_base(family, slot):
            store.records.write_base(current, _carried(store, current))
        for other in left:
            if other in edited:
                store.records.retire(family, other)
            else:
                store.drop_slot(family, other)


# A spare slot is not left over, as long as there is something that may be edited into it.
def _is_left(store: Store, family: Family, slot: int) -> bool:
    if store.slot(family) and store.records.spare(family, slot) is not None:
        return False
    return store.has_slot(family, slot)


# Whether a slot is what the current one was made from, or was to become of it: then both count
# in the same counters, and nothing is to be carried over.
def _is_edited(store: Store, current: Generation, slot: int) -> bool:
    try:
        other = store.records.read(current.family, slot)
    except StateError:
        return False
    return other is not None and other.lineage == current.lineage


def _warn(text: str, *details: object) -> None:
    import logging  # takes 5 ms, and mostly there is nothing to say

    logging.getLogger(__name__).warning(text, *details)


def _known(store: Store, family: Family) -> Generation | None:
    # What is in force but has lost its description can still be replaced; its counters go.
    try:
        return store.generation(family)
    except StateError:
        return None


def _carried(store: Store, current: Generation) -> bytes:
    # What a ruleset in force takes over from the one before, which is still there.
    other = next(slot for slot in dispatch.SLOTS if slot != current.slot)
    try:
        previous = store.records.read(current.family, other)
        if previous is not None:
            return _carried_from(store, previous, current)
    except StateError as error:
        _warn("the counters of the rules before are lost: %s", error)
    return store.records.seed(current)


def _carried_from(store: Store, previous: Generation, current: Generation) -> bytes:
    records = store.records
    values = counters.add(records.base(previous), store.live(previous))
    before = counters.of_lines(values, records.order(previous), previous.rules)
    seed, order = records.seed(current), records.order(current)
    written = counters.of_lines(seed, order, current.rules)
    origin = records.origin(current, previous.rules)
    if origin is not None:
        policies = len(current.policies)
        values = counters.kept_policies(values, origin[:policies], seed)
        lines = counters.add(counters.pick(before, origin[policies:]), written)
    else:
        lines = _carried_to_equals(records, previous, current, before, written)
    return counters.placed(values, lines, order, current.counters_per_cpu)


def _carried_to_equals(
    records: Records, previous: Generation, current: Generation, before: bytes, written: bytes
) -> bytes:
    from bpfilter.firewall.carry import Kept, carry
    from bpfilter.firewall.lines import Lines

    old, new = (
        Kept(Lines.of_text(records.text(each)), records.traits(each))
        for each in (previous, current)
    )
    return carry(old, new, before, written, current.family)


def totals(store: Store, generation: Generation) -> bytes:
    """Give the counters of the generation in force: carried over plus counted since.

    Raises: StateError if what was carried over cannot be read.
    """
    if store.records.has_base(generation.family, generation.slot):
        base = store.records.base(generation)
    else:  # a command was interrupted
        base = _carried(store, generation)
    return counters.add(base, store.live(generation))


def zero(store: Store, family: Family, of: Iterable[int] | None = None) -> None:
    """Set all counters to zero, or these of the map; packets counted meanwhile are not lost."""
    recover(store)
    generation = store.generation(family)
    if generation is not None:
        zeroed = counters.negate(store.live(generation))
        if of is not None:
            zeroed = counters.replaced(store.records.base(generation), zeroed, of)
        store.records.write_base(generation, zeroed)
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


def _describe(
    prepared: Prepared,
    loaded: Loaded,
    slot: int,
    source: str,
    seed: bool,
    traced: bool,
    target: Target,
) -> Generation:
    compiled = prepared.compiled
    return Generation(
        family=compiled.family,
        slot=slot,
        source=source,
        policies=prepared.policies,
        seed=seed,
        applied_at=time.time(),
        load_s=loaded.seconds,
        rules=prepared.rules,
        ordered=prepared.order is not None,
        traced=traced,
        canonical=prepared.canonical,
        cells=compiled.cells,
        words=compiled.words,
        counters_per_cpu=compiled.counters_per_cpu,
        cpus=target.cpus,
        needs_conntrack=compiled.needs_conntrack,
        lineage=os.urandom(8).hex(),
        free=(),
        unused=counters.FIRST_RULE + prepared.rules,
        programs=describe_programs(compiled.programs, loaded.programs),
        straight=compiled.straight,
        searched=tuple(
            SearchedChain(
                index.chain,
                index.rules,
                index.in_front,
                index.tuples,
                index.steps,
                index.bytes,
            )
            for index in compiled.indexes
        ),
    )


def describe_programs(
    specs: Mapping[Hook, ProgramSpec], programs: Mapping[Hook, Program]
) -> tuple[LoadedProgram, ...]:
    """Give what is kept of loaded programs."""
    described = []
    for hook, program in programs.items():
        info = program.info()
        described.append(
            LoadedProgram(
                hook.name,
                info.id,
                len(specs[hook].insns),
                info.xlated_bytes,
                info.jited_bytes,
                info.verified_insns,
            )
        )
    return tuple(described)
