"""What is wrong with a bulk table as a whole, told from its columns.

`check.py` says what is wrong, here it only has to be known whether anything may be: loops
of jumps, and extensions where they must not be. Unlike there, rules that no packet gets
to count too, so a table may be doubted that has no fault.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bpfilter.rules.columns import BulkTable
from bpfilter.rules.distinct import distinct
from bpfilter.rules.model import TABLES, Match, Rule, Target

Indexes = NDArray[np.int64]


def is_sound(table: BulkTable) -> bool:
    """Tell that `check_table` finds no fault; False says that it may."""
    jumps = Jumps(table)
    return not jumps.have_loop() and _are_places_right(table, jumps)


class Jumps:
    """Which chains jump to which, each pair once."""

    def __init__(self, table: BulkTable) -> None:
        self.chains = len(table.chains)
        rows = np.flatnonzero(table.jump >= 0)
        pairs = distinct(table.chain[rows] * np.int64(self.chains) + table.jump[rows])
        origins, self.targets = np.divmod(pairs, self.chains)
        self.starts = np.searchsorted(origins, np.arange(self.chains + 1))

    def of(self, chains: Indexes) -> Indexes:
        """Give the targets of chains, as often as there are jumps to them."""
        counts = self.starts[chains + 1] - self.starts[chains]
        skipped = np.cumsum(counts) - counts
        at = np.arange(counts.sum()) + np.repeat(self.starts[chains] - skipped, counts)
        found: Indexes = self.targets[at]
        return found

    def have_loop(self) -> bool:
        """Take away chains that nothing jumps to until none is left, or only loops are."""
        left = np.bincount(self.targets, minlength=self.chains)
        chains = np.flatnonzero(left == 0)
        taken = 0
        while len(chains):
            taken += len(chains)
            reached, counts = np.unique(self.of(chains), return_counts=True)
            left[reached] -= counts
            chains = reached[left[reached] == 0]
        return taken < self.chains

    def reach(self, start: int) -> NDArray[np.bool_]:
        """Tell which chains can be got to from one, itself among them."""
        seen = np.zeros(self.chains, np.bool_)
        chains = np.array([start])
        while len(chains):
            seen[chains] = True
            targets = distinct(self.of(chains))
            chains = targets[~seen[targets]]
        return seen


def _are_places_right(table: BulkTable, jumps: Jumps) -> bool:
    bases = TABLES[table.name]
    reached: dict[int, NDArray[np.bool_]] = {}
    for number, shape in enumerate(table.shapes):
        allowed = _allowed(shape.rule)
        if not allowed:
            continue
        chains = distinct(table.chain[table.shape == number])
        for index, base in enumerate(bases):
            if index not in reached:
                reached[index] = jumps.reach(index)
            if any(base not in names for names in allowed) and reached[index][chains].any():
                return False
    return True


# For each part that may be reached from a few base chains only: which.
def _allowed(rule: Rule) -> list[tuple[str, ...]]:
    parts: list[Match | Target] = [*rule.matches]
    parts += [rule.target] if rule.target is not None else []
    return [part.chains() for part in parts if part.chains()]
