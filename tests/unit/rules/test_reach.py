"""What is sound by the columns is sound by `check_table`, and mostly the other way round."""

from __future__ import annotations

import itertools
import random
from unittest import mock

import pytest

from bpfilter.rules import section
from bpfilter.rules.bulk import BulkTable, read_bulk
from bpfilter.rules.check import check_table
from bpfilter.rules.model import Family
from bpfilter.rules.reach import Jumps, is_sound
from tests.unit.rules.bulk_support import filter_table

V4 = Family.IPV4
OWN = ("a", "b", "c", "d", "e", "f")


def unchecked(*lines: str, chains: tuple[str, ...] = OWN) -> BulkTable:
    with mock.patch.object(section, "is_sound", return_value=True):
        bulk = read_bulk(filter_table(*lines, chains=chains), "file", V4)
    assert bulk is not None
    return bulk["filter"]


@pytest.mark.parametrize(
    ("lines", "sound"),
    [
        ([], True),
        (["-A INPUT -j a", "-A a -j b", "-A INPUT -j b", "-A a -j b"], True),
        (["-A INPUT -j a", "-A a -j a"], False),
        (["-A INPUT -j a", "-A a -g b", "-A b -j c", "-A c -j a"], False),
        (["-A a -j b", "-A b -j a"], False),  # which no hook reaches: doubted all the same
        (["-A OUTPUT -m owner --uid-owner 0"], True),
        (["-A a -m owner --uid-owner 0", "-A OUTPUT -j a"], True),
        (["-A b -m owner --uid-owner 0", "-A FORWARD -j a", "-A a -j b"], False),
        (["-A b -m owner --uid-owner 0", "-A FORWARD -j a", "-A a -j c"], True),
    ],
)
def test_soundness(lines: list[str], sound: bool) -> None:
    table = unchecked(*lines)
    assert is_sound(table) is sound
    assert not sound or not check_table(table.table())


def test_random_jumps() -> None:
    rng = random.Random(7)
    sound = 0
    for _ in range(400):
        lines = [
            f"-A {rng.choice((*OWN, 'INPUT', 'OUTPUT'))} -{rng.choice('jg')} {rng.choice(OWN)}"
            for _ in range(rng.randrange(9))
        ]
        lines += [f"-A {rng.choice(OWN)} -m owner --uid-owner 0"] * rng.randrange(2)
        table = unchecked(*rng.sample(lines, len(lines)))
        if is_sound(table):
            sound += 1
            assert check_table(table.table()) == []
    assert sound > 50


def test_deep_jumps_take_no_recursion() -> None:
    chains = tuple(f"c{number:05}" for number in range(3000))
    jumps = [f"-A {one} -j {other}" for one, other in itertools.pairwise(chains)]
    table = unchecked("-A INPUT -j c00000", *jumps, chains=chains)
    assert is_sound(table)
    reached = Jumps(table).reach(0)
    assert reached.sum() == len(chains) + 1
    assert not is_sound(unchecked(*jumps, "-A c02999 -j c00000", chains=chains))
