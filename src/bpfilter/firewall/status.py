"""What is attached, loaded and in force in a network namespace, and what is wrong with it."""

from __future__ import annotations

from bpfilter.bpf.link import NetfilterLink
from bpfilter.compiler.counters import COUNTER_ABORTED
from bpfilter.dataclass import dataclass
from bpfilter.errors import Error
from bpfilter.firewall import conntrack, delegated, dispatch, others, stale
from bpfilter.firewall.delegated import Delegated
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.store import Store
from bpfilter.rules.model import Family, Hook


@dataclass(frozen=True, slots=True)
class HookStatus:
    """A dispatcher's link; `link_id` is None if it is not there."""

    hook: Hook
    priority: int
    link_id: int | None
    program_id: int | None


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """One family; `generation` is None if nothing is in force.

    `aborted` counts packets dropped because their evaluation could not finish.
    `unfinished`: a command was interrupted; the next one that changes something tidies up.
    """

    family: Family
    generation: Generation | None
    hooks: tuple[HookStatus, ...]
    aborted: int
    unfinished: bool
    problems: tuple[str, ...]
    #: To which tool of the kernel's the filter table went, and why.
    delegated: Delegated | None = None


@dataclass(frozen=True, slots=True)
class Status:
    netns_inode: str
    pins: str
    families: tuple[FamilyStatus, ...]
    #: Inodes of namespaces that have rules in force, but that nothing refers to any more.
    stale: tuple[str, ...] = ()

    @property
    def in_force(self) -> bool:
        return any(family.generation is not None for family in self.families)


def read_status(store: Store) -> Status:
    """Look at everything of one namespace. Raises: KernelError."""
    families = tuple(_family(store, family) for family in dispatch.FAMILIES)
    return Status(store.pins.name, str(store.pins), families, _stale(store))


def _stale(store: Store) -> tuple[str, ...]:
    try:
        found = stale.find_with_rules(store.kernel)
    except Error:  # cannot be told here
        return ()
    return tuple(other.pins.name for other in found)


def _family(store: Store, family: Family) -> FamilyStatus:
    problems: list[str] = []
    slot = store.slot(family)
    generation = to = None
    try:
        to = delegated.read(store, family)
    except Error as error:
        problems.append(str(error))
    unfinished = to is not None and (slot > 0 or store.was_in_force(family))
    try:
        if slot or not unfinished:
            generation = store.generation(family)
    except Error as error:
        problems.append(str(error))
    in_force = slot and store.is_whole()
    hooks = tuple(_hook(store, family, hook) for hook in dispatch.HOOKS) if in_force else ()
    if slot:
        problems += others.warnings(store.kernel, family)
    problems += [
        f"the link at {hook.hook.name} is gone: packets pass there unfiltered; "
        "apply the rules again to repair it"
        for hook in hooks
        if hook.link_id is None
    ]
    aborted = 0
    if generation is not None:
        ((aborted, _),) = store.live_of(generation, [COUNTER_ABORTED])
        uncounted = not store.records.has_base(family, generation.slot)
        unfinished = unfinished or uncounted
        if not uncounted:
            try:
                store.records.base(generation)
            except Error as error:
                problems.append(str(error))
        if generation.needs_conntrack and not conntrack.is_on(store.kernel, family):
            problems.append(
                f"nf_tables table '{conntrack.TABLE}' is gone, so connections may not be tracked "
                "and rules with -m conntrack or -m state match nothing; apply the rules again"
            )
    return FamilyStatus(family, generation, hooks, aborted, unfinished, tuple(problems), to)


def _hook(store: Store, family: Family, hook: Hook) -> HookStatus:
    if not store.is_attached(family, hook):
        return HookStatus(hook, dispatch.PRIORITY, None, None)
    with NetfilterLink.open(store.kernel, store.link_path(family, hook)) as link:
        info = link.info()
    return HookStatus(hook, info.priority, info.id, info.program_id)
