"""The same as np.unique, whatever the values."""

from __future__ import annotations

import numpy as np
import pytest

from bpfilter.rules.distinct import distinct, distinct_rows


@pytest.mark.parametrize("values", [[], [3], [3, 1, 3, 2, 1], [0xFFFF_FFFF, 0, 0]])
def test_distinct(values: list[int]) -> None:
    array = np.array(values, np.uint32)
    assert distinct(array).tolist() == sorted(set(values))
    assert distinct(array).dtype == np.uint32
    assert distinct(array).tolist() == np.unique(array).tolist()


@pytest.mark.parametrize("rows", [[[1, 2]], [[1, 2], [0, 9], [1, 2], [1, 1]]])
def test_distinct_rows(rows: list[list[int]]) -> None:
    table = np.array(rows, np.uint32)
    assert distinct_rows(table).tolist() == np.unique(table, axis=0).tolist()


def test_no_rows() -> None:
    assert distinct_rows(np.empty((0, 3), np.uint32)).shape == (0, 3)
