"""Change a few rules of a large table in place, without building the rest again.

A compiled table lies in maps of fixed sizes, with room to spare, that fixed programs read.
What an editor needs to find its way in them again is its *layout*: bytes that `Compiled`
carries, that are kept beside the rules, and that only this module reads.

A rule is named by its counter, which it has alone and keeps as long as it is in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from bpfilter.dataclass import dataclass

if TYPE_CHECKING:
    from bpfilter.bpf.spec import ProgramSpec
    from bpfilter.compiler.target import Target
    from bpfilter.rules.model import Hook, Rule


@dataclass(frozen=True, slots=True)
class Removed:
    """A rule to take out."""

    chain: str
    rule: Rule
    counter: int


@dataclass(frozen=True, slots=True)
class Added:
    """A rule to put in, behind the rule of its chain that counts in `after`; None: at the start.

    It may count in the counter of a rule that was removed (it has moved), or in a new one.
    """

    chain: str
    rule: Rule
    counter: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of a table; `cells` is how many are in use."""

    layout: bytes
    cells: int


class Editor(Protocol):
    """Edits tables; without numpy, whose import takes longer than an edit may."""

    def edit(
        self,
        memory: Mapping[str, memoryview],
        layout: bytes,
        removed: Sequence[Removed],
        added: Sequence[Added],
    ) -> Edited | None:
        """Change the rules in a copy of a table's maps, given by name as writable bytes.

        All of `removed` go first, then `added` come one after the other: `after` may name one
        before it. None if that cannot be done in place (no room, a field that the programs do
        not read, a rule that has to be refused); the copy is worthless then.
        """

    def programs(self, layout: bytes, target: Target) -> dict[Hook, ProgramSpec]:
        """Give the programs that read a table's maps, as they were when it was compiled."""


def editor() -> Editor:
    """Give what edits tables."""
    from bpfilter.compiler.editor import TableEditor

    return TableEditor()
