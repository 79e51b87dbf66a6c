"""The firewall of one network namespace, as an object: what the commands are thin layers over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bpfilter.firewall.store import Store, open_store
from bpfilter.rules.model import Family, Ruleset, Table

# The rest is imported where it is used: looking at what is in force needs no compiler.
if TYPE_CHECKING:
    from bpfilter.compiler.target import Target
    from bpfilter.firewall.delegated import Delegated
    from bpfilter.firewall.enforce import Verified
    from bpfilter.firewall.generation import Generation
    from bpfilter.firewall.given import GivenText
    from bpfilter.firewall.revision import LinesDraft
    from bpfilter.firewall.status import Status
    from bpfilter.kernel.api import Kernel
    from bpfilter.rules.listing import Form
    from bpfilter.rules.written import Written

#: How long a writer waits for another one, as `iptables -w` without a number would for ever.
LOCK_WAIT_S = 10.0


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

    def target(self) -> Target:
        """Give what to compile for: this kernel."""
        from bpfilter.firewall.target import this_kernel

        with this_kernel(self.kernel) as target:
            return target

    def apply(
        self,
        ruleset: Ruleset | GivenText,
        *,
        source: str = "",
        counters: bool = False,
        target: Target | None = None,
        progress: Callable[[str], None] = _silent,
        otherwise: Mapping[str, str] | None = None,
    ) -> Generation:
        """Put a ruleset's filter table in force; see firewall.apply.apply.

        Policies that it does not declare stay as they are, or become those of `otherwise` where
        nothing is in force. `target` saves reading the
        kernel's types again when many rulesets are applied. `progress` is told each step:
        reading, compiling, loading, switching.
        """
        progress("reading")
        if not isinstance(ruleset, Ruleset) and not counters:
            edited = self._edited(ruleset, source, target)
            if edited is not None:
                return edited
        from bpfilter.firewall import enforce

        rules = enforce.readable(ruleset)
        with self._store("change the firewall") as store:
            enforcing = enforce.Enforcing(
                store, ruleset.family, rules, self.wait_s, progress, otherwise
            )
            return enforcing.apply(source=source, seed=counters, target=target)

    # A large text that differs in a few rules from the one in force takes little.
    def _edited(self, given: GivenText, source: str, target: Target | None) -> Generation | None:
        if not given.is_large:
            return None
        with self._store("change the firewall") as store:
            if not store.slot(given.family):
                return None
            from bpfilter.firewall import edit

            return edit.try_edit(store, self.wait_s, given, source, target)

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
        from bpfilter.firewall.given import GivenText

        saved = GivenText(text, source, family)
        return self.apply(saved, source=source, counters=counters, target=target)

    def verify(
        self, ruleset: Ruleset | GivenText, *, progress: Callable[[str], None] = _silent
    ) -> Verified:
        """Compile and load without attaching (a dry run); nothing is left in the kernel.

        Raises: as `apply`.
        """
        from bpfilter.firewall import enforce

        progress("reading")
        rules = enforce.readable(ruleset)
        with self._store("have the kernel verify programs") as store:
            enforcing = enforce.Enforcing(store, ruleset.family, rules, self.wait_s, progress)
            return enforcing.verify()

    def table(self, family: Family) -> Table | None:
        """Give the table in force with its counters, None if nothing is."""
        from bpfilter.firewall import shown

        with self._reading() as store:
            return shown.current_table(store, family)

    def written(self, family: Family, *, counters: bool = False) -> list[Written] | None:
        """Give the same with rules as the lines iptables-save writes, which takes less time.

        With `counters`, they are in the lines as well (`iptables -vS`).
        """
        from bpfilter.firewall import shown

        with self._reading() as store:
            lines = shown.current_lines(store, family)
        return None if lines is None else lines.written(counters)

    def listed(
        self, family: Family, form: Form, chain: str | None = None, number: int = 0
    ) -> str | None:
        """Give what `iptables -L [CHAIN [NUMBER]]` prints, None if nothing is in force.

        Raises: KeyError if there is no such chain.
        """
        from bpfilter.firewall import shown

        with self._reading() as store:
            lines = shown.current_lines(store, family)
        return None if lines is None else lines.listed(form, chain, number)

    def text(self, family: Family) -> bytes | None:
        """Give the same as a text with counters, from which nothing is lost when it is applied
        again; rules of large tables are spelt as they were read. None if nothing is in force."""
        from bpfilter.firewall import shown

        with self._reading() as store:
            return shown.current_text(store, family)

    def generation(self, family: Family) -> Generation | None:
        """Give what is known of the ruleset in force, None if there is none."""
        with self._reading() as store:
            return store.generation(family)

    def revise(
        self, family: Family, change: Callable[[LinesDraft], None], *, source: str
    ) -> Generation:
        """Change the table in force as `change` does with its lines; nobody else changes it
        meanwhile. Rules that stay keep their counters, others begin anew.

        Raises: what `change` raises, RefusedError as `apply`; nothing has changed then.
        """
        from bpfilter.firewall import revise

        with self._writing() as store:
            return revise.revise(store, family, change, source=source)

    def draft(self, family: Family) -> LinesDraft:
        """Give the table in force as lines, for commands to look at."""
        from bpfilter.firewall import revise

        with self._reading() as store:
            return revise.draft_of(store, family)

    def restore(
        self,
        given: GivenText,
        *,
        counters: bool = False,
        otherwise: Mapping[str, str] | None = None,
    ) -> Generation:
        """Put a text in force as iptables-restore does: all counters begin anew, or, with
        `counters`, with what stands in the text. `otherwise` are policies of chains that
        neither it nor rules in force have one for. Otherwise as `apply`."""
        from bpfilter.firewall import enforce

        rules = given.readable
        with self._store("change the firewall") as store:
            enforcing = enforce.Enforcing(
                store, given.family, rules, self.wait_s, _silent, otherwise
            )
            return enforcing.apply(source=given.name, seed=counters, anew=True)

    def delegated(self, family: Family) -> Delegated | None:
        """Say whether a filter table is the kernel's own, and why."""
        from bpfilter.firewall import delegated

        with self._store("read the firewall") as store:
            return delegated.read(store, family)

    def hand_over(
        self,
        family: Family,
        change: Callable[[LinesDraft], None],
        to: Delegated,
        give: Callable[[bytes], None],
    ) -> None:
        """Let the kernel have a filter table, changed; see firewall.delegated.hand_over."""
        from bpfilter.firewall import delegated

        with self._writing() as store:
            delegated.hand_over(store, family, change, to, give)

    def take_back(
        self,
        family: Family,
        text: bytes,
        source: str,
        empty: Callable[[], None],
        again: Callable[[], bytes] | None = None,
    ) -> Generation:
        """Put in force what the kernel has; see firewall.delegated.take_back."""
        from bpfilter.firewall import delegated

        with self._writing() as store:
            return delegated.take_back(store, family, text, source, empty, again)

    def settle(self, family: Family, empty: Callable[[], None]) -> None:
        """Undo what an interrupted hand-over left; see firewall.delegated.settle."""
        from bpfilter.firewall import delegated

        with self._writing() as store:
            delegated.settle(store, family, empty)

    def mark(self, family: Family, delegated: Delegated | None) -> None:
        """Say that the kernel has a filter table, which it has; None: that it has not."""
        from bpfilter.firewall import delegated as marks

        with self._writing() as store:
            if delegated is None:
                marks.remove(store, family)
            else:
                marks.write(store, family, delegated)
            store.forget()

    def zero(self, family: Family, chain: str = "", number: int = 0) -> None:
        """Set all counters of a family to zero, or a chain's, or one rule's (from 1).

        Raises: TableError if there is no such chain or rule.
        """
        from bpfilter.firewall import apply as steps

        with self._writing() as store:
            if not chain:
                steps.zero(store, family)
                return
            from bpfilter.firewall.revise import counters_of

            steps.zero(store, family, counters_of(store, family, chain, number))

    def clear(self, family: Family) -> bool:
        """Take a family's rules out of force; False if there were none."""
        from bpfilter.firewall import apply as steps

        with self._writing() as store:
            return steps.clear(store, family)

    def clear_stale(self) -> tuple[str, ...]:
        """Take down rules of network namespaces that no process or name refers to; give the
        namespaces' inodes. Of the whole machine, not of this firewall's namespace alone."""
        from bpfilter.firewall import stale

        self.kernel.require_privileges("change the firewall")
        return tuple(
            store.pins.name for store in stale.find(self.kernel) if stale.clear(store, self.wait_s)
        )

    def warnings(self, family: Family) -> tuple[str, ...]:
        """Give what an administrator should know of the kernel's own rules beside ours."""
        from bpfilter.firewall import others

        with self.kernel.in_netns(self.netns):
            return others.warnings(self.kernel, family)

    def state_directory(self) -> Path:
        """Give the directory of this namespace's state files; it may not be there yet."""
        with self._store("read the firewall") as store:
            return store.files

    def status(self) -> Status:
        """Describe what is attached, loaded and in force, and what is wrong with it."""
        from bpfilter.firewall.status import read_status

        with self._reading() as store:
            return read_status(store)
