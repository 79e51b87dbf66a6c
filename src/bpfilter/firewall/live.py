"""The firewall of one network namespace, as an object: what the commands are thin layers over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bpfilter.btf.query import KernelTypes
from bpfilter.compiler.build import compile_table
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, KernelError, RefusedError, RestrictedError, UnsupportedError
from bpfilter.firewall import apply as steps
from bpfilter.firewall import others, stale
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.quirks import quirks
from bpfilter.firewall.status import Status, read_status
from bpfilter.firewall.store import Store, open_store, state_directory
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

    def _loaded(self, stack: ExitStack, ruleset: Ruleset, target: Target) -> steps.Loaded:
        compiled = compile_table(steps.filter_table(ruleset), ruleset.family, target)
        if compiled.asks_users is not None and not self.kernel.owns_netns():
            raise RefusedError(
                "this network namespace belongs to another user namespace, which numbers users "
                "and groups in its own way; the kernel's owner match refuses that too",
                compiled.asks_users.span,
            )
        return steps.load(self.kernel, stack, compiled, target)

    def target(self) -> Target:
        """Give what to compile for: this kernel."""

        return Target(
            KernelTypes.of_kernel(self.kernel),
            self.kernel.cpu_numbers(),
            self.kernel.clock_hz(),
            quirks(self.kernel, state_directory(self.kernel)),
        )

    def apply(
        self,
        ruleset: Ruleset,
        *,
        source: str = "",
        counters: bool = False,
        target: Target | None = None,
    ) -> Generation:
        """Put a ruleset's filter table in force; see firewall.apply.apply.

        `target` saves reading the kernel's types again when many rulesets are applied.
        """
        with (
            self._store("change the firewall") as store,
            self._explained(),
            ExitStack() as stack,
        ):
            target = target or self.target()
            loaded = self._loaded(stack, ruleset, target)
            with store.lock(self.wait_s):
                return steps.apply(store, loaded, target, source=source, seed=counters)

    def verify(self, ruleset: Ruleset) -> Verified:
        """Compile and load without attaching (a dry run); nothing is left in the kernel.

        Raises: as `apply`.
        """
        self.kernel.require_privileges("have the kernel verify programs")
        with (
            self.kernel.in_netns(self.netns),
            self._explained(),
            ExitStack() as stack,
        ):
            loaded = self._loaded(stack, ruleset, self.target())
            compiled = loaded.compiled
            programs = tuple(
                (hook.name, len(compiled.programs[hook].insns), program.info().jited_bytes)
                for hook, program in loaded.programs.items()
            )
        rules = sum(len(chain.rules) for chain in compiled.table.chains)
        return Verified(ruleset.family, rules, compiled.cells, programs, loaded.seconds)

    def table(self, family: Family) -> Table | None:
        """Give the table in force with its counters, None if nothing is."""
        with self._reading() as store:
            return steps.current_table(store, family)

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
