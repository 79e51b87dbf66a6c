"""Change the filter table in force as commands of iptables say, or begin with one.

The lock is held from reading the rules until the changed ones are in force, so that of many
callers none undoes what another did. A few changed lines are edited in place (edit.py); more,
or what an edit cannot do, is compiled as a whole, and counters find their way by origin.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.errors import TableError
from bpfilter.firewall import apply
from bpfilter.firewall.change import revised
from bpfilter.firewall.counters import FIRST_RULE
from bpfilter.firewall.lines import TABLE, Lines
from bpfilter.firewall.revision import NEW, LinesDraft, Revision
from bpfilter.rules.model import TABLES, Family

if TYPE_CHECKING:
    from bpfilter.firewall.generation import Generation
    from bpfilter.firewall.store import Store


def draft_of(store: Store, family: Family) -> LinesDraft:
    """Give the table in force as lines, an empty one if there is none.

    Raises: StateError if what is in force has lost its state.
    """
    generation = store.generation(family)
    if generation is None:
        return LinesDraft(family)
    kept = Lines.of_text(store.records.text(generation))
    lines: Iterable[tuple[str, int]]
    if generation.canonical:
        text = bytes(kept.body).decode("utf-8", "surrogateescape")
        lines = zip(text.split("\n")[:-1], range(generation.rules), strict=True)
    else:
        from bpfilter.firewall import shown

        lines = shown.canonical_lines(generation, kept)
    return LinesDraft.of(family, generation.policies, kept.chains(), lines)


def revise(
    store: Store, family: Family, change: Callable[[LinesDraft], None], *, source: str
) -> Generation:
    """Change the table; the caller holds the lock.

    Raises: what `change` raises, RefusedError, and as `apply.apply`; what was in force is then
    still in force.
    """
    if store.is_whole():
        apply.recover(store)
    draft = draft_of(store, family)
    change(draft)
    revision = draft.revision()
    current = store.generation(family)
    if current is not None and store.is_whole() and store.records.has_layout(current):
        from bpfilter.firewall.edit import run_edit

        find = partial(revised, revision)
        edited = run_edit(store, family, find, source=source)
        if edited is not None:
            return edited
    return _compiled(store, family, revision, source)


def counters_of(store: Store, family: Family, chain: str, number: int) -> list[int]:
    """Give the counters of a chain's rules and policy, or of one rule (from 1).

    Raises: TableError if there is no such chain or rule; StateError as `draft_of`.
    """
    rules = draft_of(store, family).chain(chain).rules
    if number > len(rules):
        raise TableError("Index of counter too big")
    generation = store.generation(family)
    if generation is None:
        return []
    order = store.records.order(generation)
    wanted = rules[number - 1 : number] if number else rules
    found = [FIRST_RULE + each.origin if order is None else order[each.origin] for each in wanted]
    if not number and chain in TABLES[TABLE]:
        found.append(COUNTER_FIRST + TABLES[TABLE].index(chain))
    return found


def _compiled(store: Store, family: Family, revision: Revision, source: str) -> Generation:
    from bpfilter.firewall.enforce import Enforcing
    from bpfilter.firewall.given import GivenText

    rules = GivenText(revision.text(), source, family, canonical=True).readable
    policies = range(len(TABLES[TABLE]))
    origin = array("i", [NEW if at in revision.policies else 0 for at in policies])
    enforcing = Enforcing(store, family, rules, 0.0, lambda _: None)
    return enforcing.apply_locked(source=source, origin=origin + revision.origin)
