"""Large tables as columns: one array for each thing that differs from rule to rule.

A large ruleset is a few *shapes* of rules many times over: the same options in the same
order, with other addresses, ports, chains or comments. A shape keeps the Rule of its
first line as a template; `Slot` names what of it differs from row to row, and columns
hold that. A row is a rule; rows of a chain lie together, in the order of its rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfilter.rules.model import Address, Chain, Family, Jump, Rule


class Slot(StrEnum):
    """What may differ between the rows of a shape."""

    SOURCE = "source"
    DESTINATION = "destination"
    #: Ports of the rule's one `tcp` or `udp` match.
    SPORTS = "sports"
    DPORTS = "dports"
    #: Which user chain the rule is in.
    CHAIN = "chain"
    #: Which user chain it jumps to; goto or not is the shape's.
    TARGET = "target"
    COMMENT = "comment"


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """`rule` is the first row's, read by RuleParser; what no slot names holds for every row.

    Every row's address has a mask of ones then zeros, never empty, that reaches into
    equally many 32-bit words; ports are a range other than that of all ports. `chain` is
    the first row's.
    """

    rule: Rule
    chain: str
    slots: frozenset[Slot]


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """The file the rows were read from, as bytes; line n ends before the newline `ends[n - 1]`."""

    name: str
    data: bytes
    ends: NDArray[np.int64]

    def line(self, number: int) -> str:
        start = int(self.ends[number - 2]) + 1 if number > 1 else 0
        return self.data[start : int(self.ends[number - 1])].decode("utf-8", "surrogateescape")


@dataclass(eq=False)
class BulkTable:
    """A table of n rules. Columns of a row without the slot are all zeros (ports 0..65535)."""

    family: Family
    name: str
    #: As TableDraft.table() orders them. `rules` has one Rule for each shape the chain uses,
    #: in order of first use: the shape's own, whose slots hold the shape's first row.
    chains: tuple[Chain, ...]
    shapes: list[Shape]
    #: [chains + 1]: the rows of chain c are `starts[c]:starts[c + 1]`.
    starts: NDArray[np.int64]
    shape: NDArray[np.int32]
    #: [n, W] words in host order, the most significant first; W is 1 for IPv4, 4 for IPv6.
    source: NDArray[np.uint32]
    source_mask: NDArray[np.uint32]
    destination: NDArray[np.uint32]
    destination_mask: NDArray[np.uint32]
    #: [n, 2], both ends inclusive.
    sports: NDArray[np.uint16]
    dports: NDArray[np.uint16]
    #: Index of the chain jumped to, with a slot or without; -1 if there is no jump.
    jump: NDArray[np.int32]
    #: Line numbers, from 1.
    line: NDArray[np.int32]
    #: [n, 2]: packets, bytes.
    counters: NDArray[np.uint64]
    #: [n, 2]: where the comment's bytes lie in `text`, quotes and backslashes included.
    comment: NDArray[np.int64]
    #: Base chains without a line of their own.
    undeclared: frozenset[str]
    text: Text

    def __len__(self) -> int:
        return len(self.shape)

    def chain_of(self, row: int) -> int:
        """Give the index of the chain a row is in."""
        return int(np.searchsorted(self.starts, row, "right")) - 1

    def rule(self, row: int) -> Rule:
        """Give a row's rule, equal to what RuleParser makes of its line."""
        shape = self.shapes[self.shape[row]]
        changes: dict[str, Any] = {}
        for slot in shape.slots:
            if slot in (Slot.SOURCE, Slot.DESTINATION):
                value, mask = getattr(self, slot), getattr(self, f"{slot}_mask")
                changes[slot] = replace(
                    getattr(shape.rule, slot), value=_packed(value[row]), mask=_packed(mask[row])
                )
            elif slot is Slot.TARGET:
                assert isinstance(shape.rule.target, Jump)
                name = self.chains[self.jump[row]].name
                changes["target"] = Jump(name, shape.rule.target.goto)
        raise NotImplementedError


def _packed(words: NDArray[np.uint32]) -> bytes:
    return words.astype(">u4").tobytes()


def read_bulk(text: str, name: str, family: Family) -> dict[str, BulkTable] | None:
    """Read the tables of an iptables-save text; None if it is better read line by line.

    That is so if a line does anything but append one rule, declare a chain, open or
    commit a table, or if anything is wrong anywhere: `saved.py` then reads it, or says
    what is wrong.
    """
    raise NotImplementedError
