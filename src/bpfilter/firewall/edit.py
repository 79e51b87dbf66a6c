"""Put a ruleset in force that differs in a few rules from the one that is: nothing is rebuilt.

Steps, with the lock, each of which may be the last one that happens:
1. finish or undo what an interrupted command left (`apply.recover`)
2. see what the text changes (change.py); too much is compiled as ever
3. in the slot that is not in force, have maps like those in force, and programs that read
   them: left there by the edit before, or made
4. copy the maps, and change the rules in the copy (compiler/edit.py)
5. describe it in the state files, the description last
6. store the selector: from here on every packet meets the new ruleset
7. keep the maps and programs of the old one for the next edit

Both slots count in the same map: a rule that stays keeps its counter, and nothing has to be
carried over. A new rule counts in one that no rule in force counts in, once programs that
may still do so have ended; what stands in it is taken off by its base.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bpfilter.abi.bpf import MapFlags, MapType
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec
from bpfilter.compiler.counters import COUNTERS_MAP
from bpfilter.compiler.edit import Edited, Editor, editor
from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import Error, StateError
from bpfilter.firewall import apply, conntrack, counters, dispatch
from bpfilter.firewall.change import Change, change_of
from bpfilter.firewall.counters import PAIR_BYTES
from bpfilter.firewall.differences import spliced
from bpfilter.firewall.generation import Generation, LoadedProgram
from bpfilter.firewall.given import GivenText
from bpfilter.firewall.lines import Lines
from bpfilter.firewall.store import Store

if TYPE_CHECKING:
    from bpfilter.compiler.target import Target
    from bpfilter.kernel.api import Kernel
    from bpfilter.rules.model import Family

#: Says what changes in the rules in force: what is known of them, their text and counters.
Finder = Callable[[Generation, Lines, "array[int] | None"], "Change | None"]


def try_edit(
    store: Store, wait_s: float, given: GivenText, source: str, target: Target | None
) -> Generation | None:
    """Put a text in force if that takes no more than an edit; wait for the lock so long.

    None if it takes more, or if anything is not as it should be; nothing has changed then.
    Raises: BusyError, KernelError, VerifierError; what was in force is then still in force.
    """
    with store.lock(wait_s):
        if not store.is_whole():
            return None
        apply.recover(store)
        find = partial(change_of, given.raw)
        return run_edit(store, given.family, find, source=source, target=target)


def run_edit(
    store: Store, family: Family, find: Finder, *, source: str, target: Target | None = None
) -> Generation | None:
    """Make the change that `find` finds; the caller holds the lock, and has recovered the store.

    None, and errors: as `try_edit`.
    """
    with ExitStack() as stack:
        # Programs of before the last edit may count in what it freed, and read what it left.
        ended = stack.enter_context(_readers_ending(store.kernel))
        edit = _planned(store, family, find, editor())
        if edit is None:
            return None
        return edit.run(source, ended, lambda: target or _here(stack, store))


@contextmanager
def _readers_ending(kernel: Kernel) -> Iterator[Callable[[], None]]:
    """Wait for running programs to end while other things are done; give what is to be called
    where they have to have ended. Raises: KernelError, there."""
    errors: list[Error] = []

    def wait() -> None:
        try:
            kernel.wait_for_readers()
        except Error as error:
            errors.append(error)

    def ended() -> None:
        thread.join()
        if errors:
            raise errors[0]

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield ended
    finally:
        thread.join()


def _planned(store: Store, family: Family, find: Finder, by: Editor) -> _Edit | None:
    try:
        current = store.generation(family)
        layout = b"" if current is None else store.records.layout(current)
        if current is None or not layout:
            return None
        kept = Lines.of_text(store.records.text(current))
        change = find(current, kept, store.records.order(current))
        base = store.records.base(current)
    except StateError:  # of files that are lost or damaged: said when the rules are compiled
        return None
    if change is None or (_asks_users(change) and not store.kernel.owns_netns()):
        return None
    return _Edit(store, current, change, by, layout, base)


def _asks_users(change: Change) -> bool:
    return any(match.asks_users() for added in change.added for match in added.rule.matches)


def _here(stack: ExitStack, store: Store) -> Target:
    from bpfilter.firewall.target import this_kernel

    return stack.enter_context(this_kernel(store.kernel))


@dataclass(frozen=True, slots=True)
class _Room:
    """Maps and programs for the new rules, attached to nothing."""

    maps: dict[str, Map]
    programs: tuple[LoadedProgram, ...]
    seconds: float


class _Edit:
    def __init__(
        self,
        store: Store,
        current: Generation,
        change: Change,
        by: Editor,
        layout: bytes,
        base: bytes,
    ) -> None:
        self.store = store
        self.kernel = store.kernel
        self.records = store.records
        self.current = current
        self.family = current.family
        self.slot = next(slot for slot in dispatch.SLOTS if slot != current.slot)
        self.change = change
        self.by = by
        self.layout = layout
        self.base = base

    def run(
        self, source: str, ended: Callable[[], None], target: Callable[[], Target]
    ) -> Generation | None:
        with ExitStack() as stack:
            theirs = self._opened(stack, self.current.slot)
            try:
                room = self._spare(stack) or self._made(stack, theirs, target)
                ended()
                edited = self._edited(theirs, room)
                if edited is None:
                    return None
                self._attach()
                made = self._described(edited, room, source)
                self.records.write_base(made, self._base())
                self.records.write(
                    made,
                    self.change.lines.text,
                    order=self.change.order,
                    traits=self._traits(),
                    layout=edited.layout,
                )
            except BaseException:
                self.store.drop_slot(self.family, self.slot)
                raise
        self.store.select(self.family, self.slot)
        with apply.clearing_up():
            apply.recover(self.store)
        return made

    def _opened(self, stack: ExitStack, slot: int) -> dict[str, Map]:
        directory = self.store.slot_pins(self.family, slot)
        return {
            name: stack.enter_context(Map.open(self.kernel, directory / name))
            for name in self.kernel.list_directory(directory)
        }

    # What the edit before has left, if all of it is still there.
    def _spare(self, stack: ExitStack) -> _Room | None:
        spare = self.records.spare(self.family, self.slot)
        if spare is None or spare.lineage != self.current.lineage:
            return None
        if not self.store.has_programs(spare):
            return None
        return _Room(self._opened(stack, self.slot), spare.programs, spare.load_s)

    def _made(
        self, stack: ExitStack, theirs: dict[str, Map], target: Callable[[], Target]
    ) -> _Room:
        started = time.monotonic()
        self.store.drop_slot(self.family, self.slot)
        maps = {
            name: each
            if name == COUNTERS_MAP
            else stack.enter_context(Map.create(self.kernel, _like(each)))
            for name, each in theirs.items()
        }
        to = target()
        specs = self.by.programs(self.layout, to)
        programs = {
            hook: stack.enter_context(Program.load(self.kernel, spec, maps, to.types))
            for hook, spec in specs.items()
        }
        self.store.pin_slot(self.family, self.slot, maps, programs)
        described = apply.describe_programs(specs, programs)
        return _Room(maps, described, time.monotonic() - started)

    def _edited(self, theirs: dict[str, Map], room: _Room) -> Edited | None:
        with ExitStack() as stack:
            memory = {}
            for name, each in theirs.items():
                if name != COUNTERS_MAP:
                    memory[name] = stack.enter_context(_memory(room.maps[name]))
                    memory[name][:] = stack.enter_context(_memory(each))
            return self.by.edit(memory, self.layout, self.change.removed, self.change.added)

    # Links that were taken away, and what keeps connections tracked, are put back.
    def _attach(self) -> None:
        self.store.ensure_attached(self.family)
        if self.current.needs_conntrack and not conntrack.is_on(self.kernel, self.family):
            conntrack.switch_on(self.family)

    def _described(self, edited: Edited, room: _Room, source: str) -> Generation:
        return replace(
            self.current,
            slot=self.slot,
            source=source,
            seed=False,
            applied_at=time.time(),
            load_s=room.seconds,
            rules=len(self.change.order),
            ordered=True,
            traced=False,
            canonical=self.change.canonical,
            cells=edited.cells,
            free=self.change.free,
            unused=self.change.unused,
            programs=room.programs,
        )

    def _traits(self) -> array[int] | None:
        before = self.records.traits(self.current)
        if before is None:
            return None
        from bpfilter.firewall.traits import trait

        come = [trait(added.chain, added.rule) for added in self.change.added]
        return spliced(before, self.change.hunks, come)

    # As it is, but that new rules begin with nothing.
    def _base(self) -> bytes:
        return beginning(self.store, self.current, self.base, self.change.begins)


def beginning(
    store: Store, current: Generation, base: bytes, begins: Mapping[int, tuple[int, int]]
) -> bytes:
    """Give a base with which some counters show what they begin with, whatever was counted."""
    made = bytearray(base)
    counted = store.live_of(current, begins)
    for (counter, pair), live in zip(begins.items(), counted, strict=True):
        at = PAIR_BYTES * counter
        shown = counters.add(counters.negate(counters.pack(live)), counters.pack(pair))
        made[at : at + PAIR_BYTES] = shown
    return bytes(made)


def _like(other: Map) -> MapSpec:
    return MapSpec(
        other.name,
        MapType(other.type),
        other.key_bytes,
        other.value_bytes,
        other.entries,
        MapFlags(other.flags),
    )


@contextmanager
def _memory(of: Map) -> Iterator[memoryview]:
    with of.mmap() as mapped, memoryview(mapped) as memory:
        yield memory
