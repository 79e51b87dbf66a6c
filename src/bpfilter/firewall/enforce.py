"""From rules to programs in force, or only verified: what `Firewall.apply` and `verify` do."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from bpfilter.compiler.build import Compiled
from bpfilter.compiler.target import Target
from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, KernelError, RefusedError, RestrictedError, UnsupportedError
from bpfilter.firewall import apply as steps
from bpfilter.firewall import policies
from bpfilter.firewall.generation import Generation
from bpfilter.firewall.given import GivenText
from bpfilter.firewall.policies import Policies
from bpfilter.firewall.prepare import Prepared, Readable, of_values
from bpfilter.firewall.store import Store
from bpfilter.firewall.target import this_kernel
from bpfilter.kernel.api import Kernel
from bpfilter.rules.model import Family, Ruleset

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


def readable(ruleset: Ruleset | GivenText) -> Readable:
    """Raises: RuleSyntaxError, RuleError."""
    return of_values(ruleset) if isinstance(ruleset, Ruleset) else ruleset.readable


@dataclass(frozen=True, slots=True)
class Enforcing:
    """Rules on their way into a namespace; `wait_s` is how long to wait for another writer.

    `otherwise` are policies of chains that neither they nor rules in force have one for.
    """

    store: Store
    family: Family
    rules: Readable
    wait_s: float
    progress: Callable[[str], None]
    otherwise: Policies | None = None

    def apply(
        self,
        *,
        source: str = "",
        seed: bool = False,
        anew: bool = False,
        target: Target | None = None,
    ) -> Generation:
        """Put them in force; see firewall.apply.apply for `source`, `seed` and errors.

        `anew` lets no rule keep its counter, though an equal one was there.
        """
        kernel, undeclared = self.store.kernel, self.rules.undeclared
        with (
            _explained(kernel),
            nullcontext(target) if target else this_kernel(kernel) as target,
        ):
            while True:
                kept = self._policies()
                with ExitStack() as stack:
                    self.progress("compiling")
                    prepared = self.rules.compile(kept, target)
                    self.progress("loading")
                    loaded = self._load(stack, prepared.compiled, target)
                    self.progress("switching")
                    stack.enter_context(self.store.lock(self.wait_s))
                    if self._in_force() == kept:
                        return steps.apply(
                            self.store,
                            prepared,
                            loaded,
                            target,
                            source=source,
                            seed=seed,
                            origin=_anew(prepared, undeclared) if anew else None,
                        )

    def apply_locked(self, *, source: str, origin: array[int] | None = None) -> Generation:
        """Put them in force; the caller holds the lock, and all policies are declared.

        `origin` says which rules were there before (Records.origin); None: all begin with the
        counters written with them.
        """
        with (
            _explained(self.store.kernel),
            this_kernel(self.store.kernel) as target,
            ExitStack() as stack,
        ):
            prepared = self.rules.compile({}, target)
            loaded = self._load(stack, prepared.compiled, target)
            if origin is None:
                origin = _anew(prepared, frozenset())
            return steps.apply(
                self.store, prepared, loaded, target, source=source, seed=True, origin=origin
            )

    def verify(self) -> Verified:
        """Compile and load without attaching; nothing is left in the kernel."""
        kernel = self.store.kernel
        with _explained(kernel), this_kernel(kernel) as target, ExitStack() as stack:
            kept = self._policies()
            self.progress("compiling")
            prepared = self.rules.compile(kept, target)
            compiled = prepared.compiled
            self.progress("loading")
            loaded = self._load(stack, compiled, target)
            programs = tuple(
                (hook.name, len(compiled.programs[hook].insns), program.info().jited_bytes)
                for hook, program in loaded.programs.items()
            )
        return Verified(self.family, prepared.rules, compiled.cells, programs, loaded.seconds)

    def _load(self, stack: ExitStack, compiled: Compiled, target: Target) -> steps.Loaded:
        kernel = self.store.kernel
        if compiled.asks_users is not None and not kernel.owns_netns():
            raise RefusedError(
                "this network namespace belongs to another user namespace, which numbers users "
                "and groups in its own way; the kernel's owner match refuses that too",
                compiled.asks_users.span,
            )
        return steps.load(kernel, stack, compiled, target)

    def _policies(self) -> Policies:
        if not self.rules.undeclared:
            return {}
        with self.store.lock(self.wait_s, shared=True):
            return self._in_force()

    def _in_force(self) -> Policies:
        names = self.rules.undeclared
        return policies.in_force(self.store, self.family, names, self.otherwise)


# As Records.origin, of rules that all are new; policies that were not declared go on counting.
def _anew(prepared: Prepared, undeclared: frozenset[str]) -> array[int]:
    origin = array("i", [0 if name in undeclared else -1 for name in prepared.policies])
    return origin + array("i", [-1]) * prepared.rules


@contextmanager
def _explained(kernel: Kernel) -> Iterator[None]:
    # What the kernel refuses or has not may have a plain reason: it lacks what all here is
    # built on.
    try:
        yield
    except RestrictedError:
        raise
    except (KernelError, UnsupportedError) as error:
        from bpfilter.bpf.features import probe

        try:
            probe(kernel).require(*NEEDED)
        except UnsupportedError as lacking:
            raise lacking from error
        except Error:
            raise error from None  # no answer; the first error says more
        raise
