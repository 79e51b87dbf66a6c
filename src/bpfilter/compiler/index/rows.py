"""What the index is built of: a chain's rules as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bpfilter.compiler.index.layout import MULTIPLIERS
from bpfilter.compiler.index.layout import KeyWords as KeyWords
from bpfilter.dataclass import dataclass, fields

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
U8: TypeAlias = NDArray[np.uint8]
U16: TypeAlias = NDArray[np.uint16]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]


@dataclass(eq=False, slots=True)
class Rows:
    """Rules of one chain, in one view of it, by ascending order: n rows, K key words.

    `masks` and `values` are the exact tests of key words, a value within its mask; all else
    is what the record holds (layout.py), ports as inclusive ranges. `hides` tells that the
    rule is terminal and that the record asks all it asks, so that no packet which the record
    matches gets to a later rule.
    """

    order: U32  # [n], 24 bits
    pc: U32  # [n], 24 bits
    masks: U32  # [n, K]
    values: U32  # [n, K]
    sports: U16  # [n, 2]
    dports: U16  # [n, 2]
    proto: U8
    hides: Bools
    form: U16  # of the record, kinds.py
    kind: U32

    def __len__(self) -> int:
        return len(self.order)

    def take(self, which: Ints | Bools) -> Rows:
        """Give some of the rows."""
        return Rows(*(getattr(self, column.name)[which] for column in fields(self)))


def joined(parts: Sequence[Rows]) -> Rows:
    """Give the rows of several chains, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    columns = ([getattr(each, column.name) for each in parts] for column in fields(Rows))
    return Rows(*map(np.concatenate, columns))


def classify(columns: Sequence[NDArray[Any]]) -> tuple[Ints, Ints]:
    """Number the different rows of some columns.

    Gives the place where each class is first, and the class of each row.
    """
    mixed = np.zeros(len(columns[0]), np.uint64)
    for number, column in enumerate(columns):
        mixed ^= mixed >> np.uint64(29)
        mixed += column.astype(np.uint64)
        mixed *= np.uint64(MULTIPLIERS[number % len(MULTIPLIERS)])
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    if all((column[first][inverse] == column).all() for column in columns):
        return first, inverse
    # Two classes have one hash.
    table = np.column_stack([column.astype(np.uint64) for column in columns])
    _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def hash_rows(words: U32, masks: U32) -> U64:
    """Give layout.hash_words of each row's words, under one mask or one per row."""
    out = np.zeros(len(words), np.uint64)
    for k in range(words.shape[1]):
        mask = masks[..., k]
        if mask.any():
            out += (words[:, k] & mask).astype(np.uint64) * np.uint64(MULTIPLIERS[k])
    return out
