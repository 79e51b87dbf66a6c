"""Counters as bytes: added up, cancelled out, and put where they belong."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter import Counters, Family, parse_saved
from bpfilter.firewall import counters
from bpfilter.firewall.counters import FIRST_RULE, PAIR_BYTES, pack, unpack
from bpfilter.rules.model import Table

U64 = st.integers(0, (1 << 64) - 1)


def table(*rules: str) -> Table:
    chains = ":INPUT DROP [7:70]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
    text = f"*filter\n{chains}" + "\n".join((*rules, "COMMIT\n"))
    found = parse_saved(text, "test", Family.IPV4).table("filter")
    assert found is not None
    return found


@given(st.lists(st.tuples(U64, U64)))
def test_each_is_added_to_each(pairs: list[tuple[int, int]]) -> None:
    left, right = (pack([pair[side] for pair in pairs]) for side in (0, 1))
    expected = [(a + b) & (1 << 64) - 1 for a, b in pairs]
    assert unpack(counters.add(left, right)).tolist() == expected


@given(st.lists(U64))
def test_negated_ones_cancel_out(values: list[int]) -> None:
    assert counters.add(pack(values), counters.negate(pack(values))) == pack([0] * len(values))


def test_sums_over_processors() -> None:
    raw = pack([1, 10, 2, 20, 100, 1000, 200, 2000, 0, 0, 0, 5]) + b"the rest of a page"
    assert unpack(counters.sum_cpus(raw, per_cpu=2, cpus=3)).tolist() == [101, 1010, 202, 2025]
    assert counters.sum_one(raw, 2, 3, counter=1) == (202, 2025)
    for too_many in (4, 5):
        with pytest.raises(ValueError, match="not"):
            counters.sum_cpus(raw, per_cpu=2, cpus=too_many)
        with pytest.raises(ValueError, match="not"):
            counters.sum_one(raw, 2, too_many, counter=1)


def test_zeroing_is_a_base_that_cancels_out() -> None:
    base = counters.negate(pack([3, 300, 2**63, 5]))
    later = counters.add(base, pack([4, 400, 2**63 + 1, 6]))
    assert unpack(later).tolist() == [1, 100, 1, 1]


def test_what_is_written_goes_back_to_its_place() -> None:
    of = table("[1:2] -A own", "[3:4] -A INPUT")
    values = unpack(counters.written(of))
    # policies of three chains, INPUT's rule, own's
    assert values[-2 * 5 :].tolist() == [7, 70, 0, 0, 0, 0, 3, 4, 1, 2]
    made = counters.with_counters(table("-A own", "-A INPUT"), values)
    assert made.chain("INPUT").counters == Counters(7, 70)
    assert made.chain("INPUT").rules[0].counters == Counters(3, 4)
    assert made.chain("own").counters == Counters(0, 0)
    assert made.chain("own").rules[0].counters == Counters(1, 2)


@pytest.mark.parametrize("order", [None, array("I", [FIRST_RULE + 2, FIRST_RULE + 5, FIRST_RULE])])
def test_lines_have_their_counters_and_give_them_back(order: array[int] | None) -> None:
    values = b"".join(pack([n, 10 * n]) for n in range(FIRST_RULE + 6))
    lines = counters.of_lines(values, order, 3)
    first = unpack(lines)[::2].tolist()
    assert first == (list(order) if order else [FIRST_RULE, FIRST_RULE + 1, FIRST_RULE + 2])
    placed = counters.placed(values, lines, order, FIRST_RULE + 7)
    assert len(placed) == PAIR_BYTES * (FIRST_RULE + 7)
    assert counters.of_lines(placed, order, 3) == lines
    # Of the policies, all but the two counters that are no chain's.
    assert unpack(placed)[: 2 * FIRST_RULE : 2].tolist() == [0, 0, 2, 3, 4]
