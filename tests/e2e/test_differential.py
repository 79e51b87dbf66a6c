"""The kernel's own iptables is the judge: same rules, same packets, same verdicts and counters."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import dialogue
from tests.harness.duel import Case, Duel, count_differences, random_case
from tests.harness.engines import BpfEngine, LegacyEngine, Refused, remove_leftovers
from tests.harness.fuzz import Tally, compare, compare_everywhere
from tests.harness.match_kinds import KINDS, Kind
from tests.harness.netns import NETNS_DIRECTORY, PREFIX, Namespace
from tests.harness.shrink import shrink

pytestmark = pytest.mark.e2e

#: Where a run starts; set it to run again what a failing run printed.
SEED = int(os.environ.get("BPFILTER_SEED", random.SystemRandom().randrange(1 << 30)))
RULESETS = int(os.environ.get("BPFILTER_RULESETS", "300"))
PACKETS = 400

#: Cases that once showed a difference, each named for what was wrong.
ONCE_DIFFERENT = Path(__file__).parent.parent / "data" / "differential"


def agreed(tally: Tally) -> None:
    """Require that nothing differs, and that there was much that could."""
    print(f"seed {SEED}: {tally}")  # noqa: T201
    assert not tally.found, "\n".join(map(str, tally.found))
    assert len(tally.unrepeated) <= 1 + tally.cases / 100, "\n".join(tally.unrepeated)
    assert tally.rules_hit > tally.rules / 5, tally


def test_every_verdict_and_counter_is_as_with_iptables() -> None:
    seeds = range(SEED, SEED + RULESETS)
    print(f"BPFILTER_SEED={SEED}")  # noqa: T201
    agreed(compare_everywhere((LegacyEngine(), BpfEngine()), seeds, PACKETS))


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_real_sockets_count_the_same(version: int) -> None:
    """Sockets in every state of a connection, with the owner they have in it."""
    duel = Duel(LegacyEngine(), BpfEngine())
    try:
        counts = [
            dialogue.talk(engine, traffic, version)
            for engine, traffic in zip(duel.engines, duel.twins(bridged=False), strict=True)
        ]
    finally:
        duel.close()
    iptables, ours = counts
    assert count_differences(dialogue.rules(), iptables, ours, ("iptables", "bpfilter")) == []
    packets = [hits for chain in ("OUTPUT", "INPUT") for hits, _ in iptables.rules[chain]]
    answered = dict(zip(dialogue.QUESTIONS, packets, strict=True))
    assert all(answered.values()), answered


@pytest.mark.parametrize("path", sorted(ONCE_DIFFERENT.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_differed(path: Path) -> None:
    duel = Duel(LegacyEngine(), BpfEngine())
    try:
        assert duel.run(Case.from_json(path.read_text())) == []
    finally:
        duel.close()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.knob in BpfEngine.refuses], ids=lambda kind: kind.knob
)
def test_what_is_not_enforced_is_refused(kind: Kind) -> None:
    """What iptables takes and we do not is named, and nothing is put in force."""
    rng = random.Random(SEED)
    engine = BpfEngine()
    with Namespace("refuse") as namespace:
        for version in kind.versions:
            rule = f"-A OUTPUT -m {kind.name} {kind.draw(rng, version)} -j DROP"
            if kind.knob == "addrtype-route":
                rule = "-A OUTPUT -m addrtype --dst-type LOCAL -j DROP"
            with pytest.raises(Refused, match=f"'{kind.name}'"):
                engine.apply(namespace, version, f"*filter\n{rule}\nCOMMIT\n")
            assert not engine.counts(namespace, version).rules


@pytest.fixture(autouse=True, scope="module")
def _no_leftovers() -> Iterator[None]:
    remove_leftovers()
    yield
    ours = f"{PREFIX}{os.getpid()}-"
    assert not [path.name for path in NETNS_DIRECTORY.glob(f"{ours}*")]


def test_iptables_agrees_with_itself() -> None:
    """Nothing but rules and packets decides what is seen: no noise, no order, no time."""
    seeds = range(SEED, SEED + 30)
    agreed(compare((LegacyEngine(), LegacyEngine("itself")), seeds, PACKETS))


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
        ("-j DROP", "-j ACCEPT"),
        ("-g c", "-j c"),
        ("-m length --length", "-m length ! --length"),
    ],
)
def test_a_mistake_is_found_and_made_small(right: str, wrong: str) -> None:
    engines = LegacyEngine(), Mistaken(right, wrong)
    tally = compare(engines, range(1000, 1200), 200, most_found=1, shrink_seconds=60)
    assert len(tally.found) == 1
    found = tally.found[0]
    assert right in found.case.text
    assert found.case.text.count("\n-A ") <= 4, found
    assert len(found.case.packets) <= 2, found


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
