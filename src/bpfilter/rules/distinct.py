"""Each value once, in order: np.unique, which for no more than that first imports numpy.ma to see
whether the values are masked, and that takes as long as reading 10,000 rules."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def distinct(values: NDArray[T]) -> NDArray[T]:
    """Give each value once, sorted."""
    found: NDArray[T] = np.unique(values, return_counts=True)[0]
    return found


def distinct_rows(table: NDArray[T]) -> NDArray[T]:
    """Give each row once, sorted."""
    found: NDArray[T] = np.unique(table, axis=0, return_counts=True)[0]
    return found
