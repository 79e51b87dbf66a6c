"""The kernel's own iptables is the judge: same rules, same packets, same verdicts and counters."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.duel import Case, Duel, random_case
from tests.harness.engines import LegacyEngine
from tests.harness.fuzz import compare
from tests.harness.netns import Namespace, leftovers, remove_leftovers
from tests.harness.shrink import shrink

pytestmark = pytest.mark.e2e

#: Where a run starts; set it to run again what a failing run printed.
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
CASES_HERE = Path(__file__).parent.parent / "data" / "differential"


@pytest.fixture(autouse=True, scope="module")
def _no_leftovers() -> Iterator[None]:
    remove_leftovers()
    yield
    assert leftovers() == []


def test_iptables_agrees_with_itself() -> None:
    """Nothing but rules and packets decides what is seen: no noise, no order, no time."""
    tally = compare((LegacyEngine(), LegacyEngine("itself")), range(SEED, SEED + 30), 400)
    assert not tally.found, "\n".join(tally.found)
    assert tally.rules_hit > tally.rules / 10, tally


class Mistaken(LegacyEngine):
    """iptables that gets one thing wrong."""

    def __init__(self, right: str, wrong: str) -> None:
        super().__init__("mistaken")
        self.right, self.wrong = right, wrong

    def apply(self, namespace: Namespace, version: int, text: str) -> None:
        super().apply(namespace, version, text.replace(self.right, self.wrong))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("--syn", "--tcp-flags SYN SYN"),
        ("-j DROP", "-j ACCEPT"),
        ("-g c", "-j c"),
        ("--length", "! --length"),
        (":OUTPUT DROP", ":OUTPUT ACCEPT"),
    ],
)
def test_a_mistake_is_found_and_made_small(right: str, wrong: str) -> None:
    engines = LegacyEngine(), Mistaken(right, wrong)
    tally = compare(engines, range(1000, 1200), 200, most_found=1, shrink_seconds=20)
    assert len(tally.found) == 1
    assert right in tally.found[0]
    rules = tally.found[0].split("Other tables:")[0].count("\n-A ")
    assert rules <= 4, tally.found[0]
    assert tally.found[0].count("\nPacket ") <= 2, tally.found[0]


def test_a_case_survives_its_file() -> None:
    duel = Duel(LegacyEngine(), Mistaken("-j DROP", "-j ACCEPT"))
    try:
        text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        case = random_case(4, 50)
        case = Case(4, f"{text}-A FORWARD -j DROP\nCOMMIT\n", case.surroundings, case.packets)
        small = shrink(duel, case)
        again = Case.from_json(small.to_json())
        assert again == small
        assert duel.run(again)
    finally:
        duel.close()
