"""The firewall of one network namespace, as an object: what the commands are thin layers over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from bpfilter.compiler.build import Compiled
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, KernelError, RefusedError, RestrictedError, UnsupportedError
from bpfilter.firewall import apply as steps
from bpfilter.firewall import others, policies, shown, stale
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.policies import Policies
from bpfilter.firewall.prepare import Readable, SavedText, of_values
from bpfilter.firewall.quirks import quirks
from bpfilter.firewall.status import Status, read_status
from bpfilter.firewall.store import Store, open_store, state_directory
from bpfilter.firewall.types import known_types
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family, Ruleset, Table

#: How long a writer waits for another one, as `iptables -w` without a number would for ever.
LOCK_WAIT_S = 10.0


#: Features (bpf/features.py) that nothing here works without.
NEEDED = ("bpf", "btf", "netfilter", "netfilter_kfuncs", "iterators", "mmapable_arrays")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a dry run found: the verifier took these programs (hook, instructions, bytes)."""

    family: Family
    rules: int
    cells: int
    programs: tuple[tuple[str, int, int], ...]
    seconds: float


def _silent(step: str) -> None:
    """Who tells of progress does not need to know whether anybody listens."""


class Firewall:
    """The rulesets in force in a network namespace; `netns` is a name or path, None is ours.

    Every method raises RestrictedError without the privileges, UnsupportedError on a
    kernel that cannot, BusyError if another writer keeps the lock longer than `wait_s`.
    """

    def __init__(
        self,
        netns: str | os.PathLike[str] | None = None,
        *,
        kernel: Kernel | None = None,
        wait_s: float = LOCK_WAIT_S,
    ) -> None:
        if kernel is None:
            from bpfilter.kernel.linux import LinuxKernel

            kernel = LinuxKernel()
        self.kernel = kernel
        self.netns = netns
        self.wait_s = wait_s

    @contextmanager
    def _store(self, op: str) -> Iterator[Store]:
        self.kernel.require_privileges(op)
        with self.kernel.in_netns(self.netns):
            yield open_store(self.kernel)

    @contextmanager
    def _reading(self) -> Iterator[Store]:
        with self._store("read the firewall") as store, store.lock(self.wait_s, shared=True):
            yield store

    @contextmanager
    def _writing(self) -> Iterator[Store]:
        with self._store("change the firewall") as store, store.lock(self.wait_s):
            yield store

    @contextmanager
    def _explained(self) -> Iterator[None]:
        # What the kernel refuses or has not may have a plain reason: it lacks what all here
        # is built on.
        try:
            yield
        except RestrictedError:
            raise
        except (KernelError, UnsupportedError) as error:
            from bpfilter.bpf.features import probe

            try:
                probe(self.kernel).require(*NEEDED)
            except UnsupportedError as lacking:
                raise lacking from error
            except Error:
                raise error from None  # no answer; the first error says more
            raise

    def _load(self, stack: ExitStack, compiled: Compiled, target: Target) -> steps.Loaded:
        if compiled.asks_users is not None and not self.kernel.owns_netns():
            raise RefusedError(
                "this network namespace belongs to another user namespace, which numbers users "
                "and groups in its own way; the kernel's owner match refuses that too",
                compiled.asks_users.span,
            )
        return steps.load(self.kernel, stack, compiled, target)

    def _policies(self, store: Store, family: Family, rules: Readable) -> Policies:
        if not rules.undeclared:
            return {}
        with store.lock(self.wait_s, shared=True):
            return policies.in_force(store, family, rules.undeclared)

    def target(self) -> Target:
        """Give what to compile for: this kernel."""
        with self._target() as target:
            return target

    @contextmanager
    def _target(self) -> Iterator[Target]:
        kernel, directory = self.kernel, state_directory(self.kernel)
        with known_types(kernel, directory) as types:
            cpus, hz = kernel.cpu_numbers(), kernel.clock_hz()
            yield Target(types, cpus, hz, quirks(kernel, directory))

    def apply(
        self,
        ruleset: Ruleset | SavedText,
        *,
        source: str = "",
        counters: bool = False,
        target: Target | None = None,
        progress: Callable[[str], None] = _silent,
    ) -> Generation:
        """Put a ruleset's filter table in force; see firewall.apply.apply.

        Policies that it does not declare stay as they are. `target` saves reading the
        kernel's types again when many rulesets are applied. `progress` is told each step:
        reading, compiling, loading, switching.
        """
        progress("reading")
        rules, family = _readable(ruleset), ruleset.family
        with (
            self._store("change the firewall") as store,
            self._explained(),
            nullcontext(target) if target else self._target() as target,
        ):
            while True:
                kept = self._policies(store, family, rules)
                with ExitStack() as stack:
                    progress("compiling")
                    prepared = rules.compile(kept, target)
                    progress("loading")
                    loaded = self._load(stack, prepared.compiled, target)
                    progress("switching")
                    stack.enter_context(store.lock(self.wait_s))
                    if policies.in_force(store, family, rules.undeclared) == kept:
                        return steps.apply(
                            store, prepared, loaded, target, source=source, seed=counters
                        )

    def apply_text(
        self,
        text: str | bytes,
        family: Family,
        *,
        source: str = "",
        counters: bool = False,
        target: Target | None = None,
    ) -> Generation:
        """Put the filter table of an iptables-save text in force, as `apply`.

        `source` names the text in messages. Raises: RuleSyntaxError, RuleError as well.
        """
        saved = SavedText(text, source, family)
        return self.apply(saved, source=source, counters=counters, target=target)

    def verify(
        self, ruleset: Ruleset | SavedText, *, progress: Callable[[str], None] = _silent
    ) -> Verified:
        """Compile and load without attaching (a dry run); nothing is left in the kernel.

        Raises: as `apply`.
        """
        progress("reading")
        rules = _readable(ruleset)
        with (
            self._store("have the kernel verify programs") as store,
            self._explained(),
            self._target() as target,
            ExitStack() as stack,
        ):
            kept = self._policies(store, ruleset.family, rules)
            progress("compiling")
            prepared = rules.compile(kept, target)
            compiled = prepared.compiled
            progress("loading")
            loaded = self._load(stack, compiled, target)
            programs = tuple(
                (hook.name, len(compiled.programs[hook].insns), program.info().jited_bytes)
                for hook, program in loaded.programs.items()
            )
        return Verified(ruleset.family, prepared.rules, compiled.cells, programs, loaded.seconds)

    def table(self, family: Family) -> Table | None:
        """Give the table in force with its counters, None if nothing is."""
        with self._reading() as store:
            return shown.current_table(store, family)

    def text(self, family: Family) -> bytes | None:
        """Give the same as a text with counters, from which nothing is lost when it is applied
        again; rules of large tables are spelt as they were read. None if nothing is in force."""
        with self._reading() as store:
            return shown.current_text(store, family)

    def generation(self, family: Family) -> Generation | None:
        """Give what is known of the ruleset in force, None if there is none."""
        with self._reading() as store:
            return store.generation(family)

    def zero(self, family: Family) -> None:
        """Set all counters of a family to zero."""
        with self._writing() as store:
            steps.zero(store, family)

    def clear(self, family: Family) -> bool:
        """Take a family's rules out of force; False if there were none."""
        with self._writing() as store:
            return steps.clear(store, family)

    def clear_stale(self) -> tuple[str, ...]:
        """Take down rules of network namespaces that no process or name refers to; give the
        namespaces' inodes. Of the whole machine, not of this firewall's namespace alone."""
        self.kernel.require_privileges("change the firewall")
        return tuple(
            store.pins.name for store in stale.find(self.kernel) if stale.clear(store, self.wait_s)
        )

    def warnings(self, family: Family) -> tuple[str, ...]:
        """Give what an administrator should know of the kernel's own rules beside ours."""
        with self.kernel.in_netns(self.netns):
            return others.warnings(self.kernel, family)

    def state_directory(self) -> Path:
        """Give the directory of this namespace's state files; it may not be there yet."""
        with self._store("read the firewall") as store:
            return store.files

    def status(self) -> Status:
        """Describe what is attached, loaded and in force, and what is wrong with it."""
        with self._reading() as store:
            return read_status(store)


def _readable(ruleset: Ruleset | SavedText) -> Readable:
    return of_values(ruleset) if isinstance(ruleset, Ruleset) else ruleset.readable
