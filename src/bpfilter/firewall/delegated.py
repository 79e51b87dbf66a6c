"""A filter table with a rule that eBPF cannot enforce is the kernel's own, as a whole.

    <family>.delegated   in the state directory: JSON of Delegated, and of whose it is

Steps of handing over, each of which may be the last that happens: this file is written; the
kernel's tool gets the rules; ours are taken out of force. Of taking back: ours are put in
force; the kernel's table is emptied; the file is removed. So a file beside rules of ours that
are in force is what an interrupted command left: ours are whole, and the kernel's go; beside
what is left of ours that are not, the kernel's are (`settle`). No packet ever meets neither.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bpfilter.dataclass import asdict, dataclass
from bpfilter.errors import StateError
from bpfilter.firewall import counters
from bpfilter.firewall.counters import PAIR_BYTES
from bpfilter.firewall.store import Store
from bpfilter.rules.model import Family

# Most commands only ask whose a table is.
if TYPE_CHECKING:
    from bpfilter.firewall.generation import Generation
    from bpfilter.firewall.revision import LinesDraft, Revision

#: Empties the kernel's filter table: its chains, its rules and its policies.
Emptier = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Delegated:
    """To which tool a table went (nft or legacy), and why: a rule that is not enforced."""

    tool: str
    rule: str
    reason: str
    since: float = 0.0


def read(store: Store, family: Family) -> Delegated | None:
    """Say whether the table is the kernel's. Raises: StateError if that cannot be told."""
    path = _path(store, family)
    try:
        data = json.loads(path.read_text())
        if data.pop("netns") != store.kernel.netns_cookie():
            return None  # of a namespace that is gone, and had the same inode
        return Delegated(**data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateError(f"{path}: cannot be read as a state file: {error}") from error


def hand_over(
    store: Store,
    family: Family,
    change: Callable[[LinesDraft], None],
    to: Delegated,
    give: Callable[[bytes], None],
) -> None:
    """Let the kernel have the table, changed; `give` gets it as iptables-save -c prints it.

    The caller holds the lock. Raises: what `change` and `give` raise; nothing changed then.
    """
    from bpfilter.firewall import apply
    from bpfilter.firewall.revise import draft_of

    apply.recover(store)
    draft = draft_of(store, family)
    change(draft)
    text = _counted(store, family, draft.revision())
    store.kernel.make_directory(store.files)
    write(store, family, to)
    try:
        give(text)
    except BaseException:
        remove(store, family)
        raise
    apply.clear(store, family)


def take_back(
    store: Store,
    family: Family,
    text: bytes,
    source: str,
    empty: Emptier,
    again: Callable[[], bytes] | None = None,
) -> Generation:
    """Put the table in force that the kernel has, as iptables-save -c printed it.

    `again` gives the same once more, for what it has counted meanwhile.
    The caller holds the lock. Raises: as `Firewall.apply_text`; it stays the kernel's then.
    What `again` and `empty` raise; both are in force then.
    """
    from bpfilter.firewall.enforce import Enforcing
    from bpfilter.firewall.given import GivenText

    rules = GivenText(text, source, family).readable
    enforcing = Enforcing(store, family, rules, 0.0, lambda _: None)
    made = enforcing.apply_locked(source=source)
    if again is not None:
        from bpfilter.firewall.recount import add_missed

        add_missed(store, made, text, again())
    empty()
    remove(store, family)
    return made


def settle(store: Store, family: Family, empty: Emptier) -> None:
    """Undo or finish what an interrupted command left; the caller holds the lock."""
    if read(store, family) is None:
        return
    if store.slot(family):
        empty()
        remove(store, family)
    elif store.was_in_force(family):  # the kernel has all of it, and ours was on its way out
        from bpfilter.firewall import apply

        apply.clear(store, family)


def write(store: Store, family: Family, delegated: Delegated) -> None:
    """Say that the table is the kernel's."""
    known = asdict(delegated)
    known["since"] = known["since"] or time.time()
    known["netns"] = store.kernel.netns_cookie()
    store.kernel.replace_file(_path(store, family), json.dumps(known).encode())


def remove(store: Store, family: Family) -> None:
    """Say that it is not."""
    store.kernel.remove(_path(store, family))


def _path(store: Store, family: Family) -> Path:
    return store.files / f"{family.command}.delegated"


# A revision with the counters of all its lines.
def _counted(store: Store, family: Family, revision: Revision) -> bytes:
    from bpfilter.firewall.apply import totals

    generation = store.generation(family)
    policies = [revision.policies.get(at, (0, 0)) for at in range(3)]
    kept = bytes(PAIR_BYTES * len(revision.origin))
    if generation is not None:
        values = totals(store, generation)
        lines = counters.of_lines(values, store.records.order(generation), generation.rules)
        kept = counters.pick(lines, revision.origin)
        policies = [
            revision.policies.get(at, (packets, octets))
            for at, (packets, octets) in enumerate(counters.of_base_chains(values))
        ]
    counts = array("Q")
    counts.frombytes(kept)
    for number, (packets, octets) in revision.begins.items():
        counts[2 * number : 2 * number + 2] = array("Q", (packets, octets))
    flat = [number for pair in policies for number in pair]
    return revision.lines.with_counters(flat, counts)
