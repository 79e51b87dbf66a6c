"""Where the rulesets in force are kept: pins and state files of one network namespace.

    /run/bpfilter/bpf/<inode>/          bpffs, in pid 1's mount namespace
        selector  programs              which slot is in force; what runs in it
        <family>-<hook>                 link: the dispatcher at a hook
        <family>-<slot>/cells|counters|…  maps of a loaded ruleset
    /run/bpfilter/state/<inode>/        see generation.py
        lock                            flock(2): one writer, or those who look

`<inode>` is the network namespace's; a pinned link keeps the namespace, and so the
number, alive. A process in a private mount namespace (`ip netns exec`) reaches all this
through /proc/1/root, so nothing goes away when it ends.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from mmap import mmap
from pathlib import Path

from bpfilter.bpf import pins
from bpfilter.bpf.link import NetfilterLink
from bpfilter.bpf.maps import Map
from bpfilter.bpf.program import Program
from bpfilter.bpf.spec import MapSpec
from bpfilter.compiler.counters import COUNTERS_MAP
from bpfilter.dataclass import dataclass
from bpfilter.errors import KernelError, RestrictedError, StateError
from bpfilter.firewall import counters, dispatch
from bpfilter.firewall.generation import Generation, slot_name
from bpfilter.firewall.records import Records
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family, Hook

BPFFS = Path("/run/bpfilter/bpf")

#: Pinned maps that all dispatchers of a namespace use.
_SHARED = ("selector", "programs")
LOCK = "lock"


@dataclass(slots=True)
class Store:
    """The state of the network namespace this thread is in; see `open_store`."""

    kernel: Kernel
    pins: Path
    files: Path

    @property
    def records(self) -> Records:
        """What is written down about each slot."""
        return Records(self.kernel, self.files)

    @contextmanager
    def lock(self, wait_s: float, shared: bool = False) -> Iterator[None]:
        """Be the one writer, or one of those who look (`shared`), whom no writer disturbs.

        Raises: BusyError after `wait_s` seconds.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self.kernel.lock(self.files / LOCK, wait_s, shared))
            except KernelError as error:
                if not shared or error.errno != errno.ENOENT:
                    raise
                # No writer has ever been here: there is nothing to look at.
            yield

    # The selector: what is in force.

    def selector(self) -> Map | None:
        path = self.pins / "selector"
        return Map.open(self.kernel, path) if path.exists() else None

    def slot(self, family: Family) -> int:
        """Give the slot in force for a family, 0 if none."""
        selector = self.selector()
        if selector is None:
            return 0
        with selector:
            return dispatch.selected(_word(selector), family)

    def select(self, family: Family, slot: int) -> None:
        """Put a slot in force at all hooks at once; packets may still be in the old one."""
        selector = self.selector()
        assert selector is not None
        with selector:
            word = dispatch.select(_word(selector), family, slot)
            selector.update(0, word.to_bytes(8, "little"))

    # What is attached.

    def is_whole(self) -> bool:
        """Say whether the maps that the dispatchers use can be reached."""
        return all((self.pins / name).exists() for name in _SHARED)

    def take_apart(self) -> None:
        """Detach all dispatchers and unpin everything."""
        for family in dispatch.FAMILIES:
            self._unlink(family)
        pins.remove_tree(self.kernel, self.pins)

    def ensure_attached(self, family: Family) -> None:
        """Have the maps, and a dispatcher at each hook of a family; repair what is missing."""
        self.kernel.mount_bpffs(BPFFS)
        self.kernel.make_directory(self.pins)
        with (
            self._ensure_map("selector", dispatch.SELECTOR) as selector,
            self._ensure_map("programs", dispatch.PROGRAMS) as programs,
        ):
            maps = {"selector": selector, "programs": programs}
            for hook in dispatch.HOOKS:
                if not self.is_attached(family, hook):
                    with self._dispatcher(family, hook, maps) as program:
                        self._ensure_link(family, hook, program)

    def _ensure_map(self, name: str, spec: MapSpec) -> Map:
        path = self.pins / name
        if path.exists():
            return Map.open(self.kernel, path)
        made = Map.create(self.kernel, spec)
        try:
            made.pin(path)
        except BaseException:
            made.close()
            raise
        return made

    def _ensure_link(self, family: Family, hook: Hook, program: Program) -> None:
        path = self.link_path(family, hook)
        try:
            link = self._attach(family, hook, program)
        except KernelError as error:
            if error.errno == errno.EBUSY and path.exists():
                return
            raise
        with link:
            # Not pinned beside and renamed: a pin under another name would outlive a killed
            # command, and keep the hook busy.
            self.kernel.remove(path)
            link.pin(path)

    def _attach(self, family: Family, hook: Hook, program: Program) -> NetfilterLink:
        try:
            return NetfilterLink.attach(self.kernel, program, family, hook, dispatch.PRIORITY)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
            raise KernelError(
                error.op,
                errno.EBUSY,
                f"another program is attached at priority {dispatch.PRIORITY} "
                "('nft list hooks' or 'bpftool net' shows it); detach it first",
            ) from error

    def is_attached(self, family: Family, hook: Hook) -> bool:
        """Say whether a dispatcher is at a hook.

        A pinned link may have been detached by force, and does not tell. Only the hook does:
        it is busy, or takes the dispatcher once more, for as long as this looks.
        """
        if not self.link_path(family, hook).exists():
            return False
        with self._pinned(family, hook) as program:
            try:
                self._attach(family, hook, program).close()
            except KernelError as error:
                if error.errno != errno.EBUSY:
                    raise
                return True
        return False

    def _pinned(self, family: Family, hook: Hook) -> Program:
        # The program of a pinned link; its like where CAP_SYS_ADMIN is missing for that.
        with NetfilterLink.open(self.kernel, self.link_path(family, hook)) as link:
            number = link.info().program_id
        try:
            return Program.by_id(self.kernel, number)
        except RestrictedError:
            with ExitStack() as stack:
                maps = {
                    name: stack.enter_context(Map.open(self.kernel, self.pins / name))
                    for name in _SHARED
                }
                return self._dispatcher(family, hook, maps)

    def _dispatcher(self, family: Family, hook: Hook, maps: Mapping[str, Map]) -> Program:
        from bpfilter.firewall.dispatcher import dispatcher

        return Program.load(self.kernel, dispatcher(family, hook), maps)

    def link_path(self, family: Family, hook: Hook) -> Path:
        return self.pins / f"{family.command}-{hook.name}"

    # Generations.

    def generation(self, family: Family) -> Generation | None:
        """Give the ruleset in force. Raises: StateError if it has lost its state, or its pins."""
        slot = self.slot(family)
        if slot == 0 and not self.was_in_force(family):
            return None
        if slot == 0 or not self.is_whole():
            raise StateError(
                f"the {family.command} ruleset has lost its pins in {self.pins}, so packets pass "
                "unfiltered or not at all; 'bpfilter apply FILE' puts one in force again, "
                "'bpfilter clear' ends it"
            )
        found = self.records.read(family, slot)
        if found is None or not self.slot_pins(family, slot).exists():
            raise StateError(
                f"the {family.command} ruleset in force has lost its state files; it stays in "
                "force until 'bpfilter apply FILE' replaces it or 'bpfilter clear' ends it"
            )
        return found

    def was_in_force(self, family: Family) -> bool:
        """Say whether a ruleset has been in force that nobody has cleared since."""
        return any(self.records.has_base(family, slot) for slot in dispatch.SLOTS)

    def live(self, generation: Generation) -> bytes:
        """Give what the kernel counted in this generation."""
        with self._counted(generation) as memory:
            return counters.sum_cpus(memory, generation.counters_per_cpu, generation.cpus)

    def live_of(self, generation: Generation, of: Iterable[int]) -> list[tuple[int, int]]:
        """Give what the kernel counted in some counters: packets, bytes."""
        size = generation.counters_per_cpu, generation.cpus
        with self._counted(generation) as memory:
            return [counters.sum_one(memory, *size, counter) for counter in of]

    @contextmanager
    def _counted(self, generation: Generation) -> Iterator[mmap]:
        path = self.slot_pins(generation.family, generation.slot) / COUNTERS_MAP
        try:
            with Map.open(self.kernel, path) as opened, opened.mmap() as memory:
                yield memory
        except ValueError as error:
            raise StateError(f"{path}: does not go with its description: {error}") from error

    def slot_pins(self, family: Family, slot: int) -> Path:
        return self.pins / slot_name(family, slot)

    def pin_slot(
        self, family: Family, slot: int, maps: dict[str, Map], programs: dict[Hook, Program]
    ) -> None:
        """Pin a loaded ruleset and make it selectable; it is not in force yet."""
        directory = self.slot_pins(family, slot)
        self.kernel.make_directory(directory)
        for name, each in maps.items():
            each.pin(directory / name)
        with Map.open(self.kernel, self.pins / "programs") as table:
            for hook, program in programs.items():
                table.update(dispatch.program_index(slot, family, hook), program.fd.number)

    def has_programs(self, generation: Generation) -> bool:
        """Say whether its programs are still where they were made selectable."""
        with Map.open(self.kernel, self.pins / "programs") as table:
            for program in generation.programs:
                place = generation.slot, generation.family, Hook[program.hook]
                found = table.lookup(dispatch.program_index(*place))
                if found is None or int.from_bytes(found, "little") != program.id:
                    return False
        return True

    def has_slot(self, family: Family, slot: int) -> bool:
        """Say whether anything is there of a ruleset in a slot."""
        return self.slot_pins(family, slot).exists() or self.records.has_any(family, slot)

    def drop_slot(self, family: Family, slot: int) -> None:
        """Unload a slot that is not in force; one that is empty is fine."""
        if (self.pins / "programs").exists():
            from bpfilter.firewall.dispatcher import stopper

            with (
                Map.open(self.kernel, self.pins / "programs") as table,
                Program.load(self.kernel, stopper()) as drop,
            ):
                for hook in dispatch.HOOKS:
                    table.update(dispatch.program_index(slot, family, hook), drop.fd.number)
        pins.remove_tree(self.kernel, self.slot_pins(family, slot))
        self.records.remove(family, slot)

    def detach(self, family: Family) -> None:
        """Take a family's dispatchers off their hooks; the last family takes the rest along."""
        self._unlink(family)
        others = (other for other in dispatch.FAMILIES if other is not family)
        if not any(self.link_path(other, hook).exists() for other in others for hook in Hook):
            pins.remove_tree(self.kernel, self.pins)

    def forget(self) -> None:
        """Remove the state directory if nothing is left in it but the lock, which we hold."""
        if self.kernel.list_directory(self.files) == [LOCK]:
            self.kernel.remove(self.files / LOCK)
            with suppress(KernelError):  # somebody who waited for the lock has made another
                self.kernel.remove(self.files)

    def _unlink(self, family: Family) -> None:
        for hook in dispatch.HOOKS:
            path = self.link_path(family, hook)
            if path.exists():
                # Not the other way round: once its pin is gone, a killed command's link keeps
                # the hook busy for as long as the kernel takes to let go of it.
                with NetfilterLink.open(self.kernel, path) as link:
                    link.detach()
                self.kernel.remove(path)


def _word(selector: Map) -> int:
    value = selector.lookup(0)
    assert value is not None  # an array always has entry 0
    return int.from_bytes(value, "little")


def state_directory(kernel: Kernel) -> Path:
    """Give the directory that holds the state of all namespaces; it may not be there yet."""
    return kernel.reach_bpffs(BPFFS).parent / "state"


def open_store(kernel: Kernel) -> Store:
    """Give the store of the network namespace this thread is in; nothing is made for it yet."""
    return store_of(kernel, str(kernel.netns_inode()))


def store_of(kernel: Kernel, inode: str) -> Store:
    """Give the store of any network namespace."""
    return Store(kernel, kernel.reach_bpffs(BPFFS) / inode, state_directory(kernel) / inode)
