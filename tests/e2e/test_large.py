"""Rulesets that are read into columns: in force, listed, counted and rolled back as small ones."""

from __future__ import annotations

import random

import pytest

from bpfilter import Family, Firewall, RefusedError, format_saved, parse_saved
from bpfilter.firewall import confirm
from bpfilter.firewall.given import LARGE
from bpfilter.rules.model import Ruleset
from bpfilter.rules.saved import format_table
from tests.e2e.test_apply import reached, table
from tests.harness.netns import Namespace

pytestmark = pytest.mark.e2e

COUNT = LARGE + 100
ADDRESSES = [f"127.{n >> 8}.{n & 255}.1" for n in range(1, COUNT)]
HEAD = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n"


def drop(address: str, chain: str = "INPUT") -> str:
    return f"-A {chain} -d {address}/32 -j DROP"


def saved(*rules: str, head: str = HEAD) -> str:
    return f"*filter\n{head}" + "".join(f"{rule}\n" for rule in rules) + "COMMIT\n"


def apart() -> list[str]:
    """Give rules of two chains, lines of one between those of the other."""
    jumps = ["-A INPUT -p udp -j a", "-A a -p udp -j b"]
    rest = [drop(address, "ab"[n % 2]) for n, address in enumerate(ADDRESSES)]
    return [*jumps, *rest]


def listed(firewall: Firewall) -> str:
    return format_saved(Ruleset(Family.IPV4, (table(firewall),)), counters=True)


def counted(firewall: Firewall) -> dict[str, int]:
    """Give the packets of the rules that have counted any."""
    found = {}
    for chain in table(firewall).chains:
        for rule in chain.rules:
            if rule.counters.packets and rule.destination is not None:
                found[".".join(map(str, rule.destination.value))] = rule.counters.packets
    return found


@pytest.mark.parametrize("columns", [False, True])
def test_listed_as_a_small_one(
    firewall: Firewall, monkeypatch: pytest.MonkeyPatch, columns: bool
) -> None:
    monkeypatch.setattr("bpfilter.rules.saved.MANY_LINES", 0 if columns else 1 << 30)
    text = saved(*(f"[{n}:{n * 60}] {line}" for n, line in enumerate(apart())))
    firewall.apply_text(text, Family.IPV4, counters=True)
    expected = format_saved(parse_saved(text, "test", Family.IPV4), counters=True)
    assert listed(firewall) == expected
    chains = firewall.written(Family.IPV4)
    assert chains is not None
    assert format_table("filter", chains, counters=True) == expected
    generation = firewall.generation(Family.IPV4)
    assert generation is not None
    assert generation.rules == len(apart())


def test_counters_of_lines_that_move(firewall: Firewall, namespace: Namespace) -> None:
    rng = random.Random(1)
    hit = rng.sample(ADDRESSES, 5)
    lines = apart()
    firewall.apply_text(saved(*lines), Family.IPV4)
    assert not reached(namespace, *hit)
    expected = dict.fromkeys(hit, 1)
    assert counted(firewall) == expected
    for _ in range(3):
        rng.shuffle(lines)
        firewall.apply_text(saved(*lines, "-A OUTPUT -d 192.0.2.1/32"), Family.IPV4)
        assert counted(firewall) == expected
    firewall.zero(Family.IPV4)
    assert counted(firewall) == {}
    assert not reached(namespace, *hit)
    assert counted(firewall) == expected


def test_between_large_and_small(firewall: Firewall, namespace: Namespace) -> None:
    """A small ruleset is kept in another spelling; rules that stay are the same nevertheless."""
    large = [drop(address) for address in ADDRESSES]
    firewall.apply_text(saved(*large), Family.IPV4)
    assert not reached(namespace, ADDRESSES[3], ADDRESSES[7])
    few = [f"-A INPUT --dst {ADDRESSES[n]} -j DROP" for n in (7, 3)]
    firewall.apply_text(saved(*few), Family.IPV4)
    assert counted(firewall) == {ADDRESSES[3]: 1, ADDRESSES[7]: 1}
    firewall.apply_text(saved(*large), Family.IPV4)
    assert counted(firewall) == {ADDRESSES[3]: 1, ADDRESSES[7]: 1}


def test_rolled_back_with_counters(firewall: Firewall, namespace: Namespace) -> None:
    lines = [drop(address) for address in ADDRESSES]
    firewall.apply_text(saved(*lines), Family.IPV4)
    assert not reached(namespace, ADDRESSES[3])
    before = listed(firewall)
    pending = confirm.start(firewall, Family.IPV4, 60)
    pending.arm(firewall.apply_text("*filter\nCOMMIT\n", Family.IPV4).applied_at)
    pending.reject()
    assert pending.wait()
    assert listed(firewall) == before
    assert not reached(namespace, ADDRESSES[3])
    assert counted(firewall) == {ADDRESSES[3]: 2}


def test_policies_that_are_not_declared(firewall: Firewall) -> None:
    lines = [drop(address) for address in ADDRESSES]
    firewall.apply_text(saved(*lines, head=":OUTPUT DROP [0:0]\n"), Family.IPV4)
    firewall.apply_text(saved(*lines, head=":INPUT DROP [0:0]\n"), Family.IPV4)
    policies = {chain.name: chain.policy for chain in table(firewall).chains}
    assert policies == {"INPUT": "DROP", "FORWARD": "ACCEPT", "OUTPUT": "DROP"}


def test_values_are_compiled_as_their_text(firewall: Firewall, namespace: Namespace) -> None:
    rules = parse_saved(saved(*(drop(address) for address in ADDRESSES)), "mine", Family.IPV4)
    generation = firewall.apply(rules)
    assert not reached(namespace, ADDRESSES[-1])
    assert (
        generation.cells
        == firewall.apply_text(saved(*(drop(address) for address in ADDRESSES)), Family.IPV4).cells
    )
    refused = parse_saved(saved(*apart(), "-A INPUT -j REJECT"), "mine", Family.IPV4)
    with pytest.raises(RefusedError, match=rf"mine:{len(apart()) + 7}:.*REJECT"):
        firewall.apply(refused)


def test_faults_have_their_place(firewall: Firewall) -> None:
    with pytest.raises(RefusedError, match=rf"big:{len(apart()) + 7}:.*REJECT"):
        firewall.apply_text(saved(*apart(), "-A INPUT -j REJECT"), Family.IPV4, source="big")


def test_rules_changed_in_place(firewall: Firewall, namespace: Namespace) -> None:
    """With the compiler's own editor: as compiled anew, but of the same lineage."""
    rng = random.Random(2)
    numbers = list(range(len(ADDRESSES)))
    rng.shuffle(numbers)
    spare, numbers = numbers[:50], numbers[50:]
    firewall.apply_text(saved(*(drop(ADDRESSES[n]) for n in numbers)), Family.IPV4)
    watched = [ADDRESSES[n] for n in numbers[:5]]
    assert not reached(namespace, *watched)
    first = firewall.generation(Family.IPV4)
    assert first is not None
    in_place = 0
    for _ in range(25):
        at = rng.randrange(5, len(numbers))
        match rng.randrange(3):
            case 0:
                gone, numbers[at] = [numbers[at]], spare.pop()
            case 1:
                gone = [numbers.pop(at)]
            case _:
                gone = []
                numbers.insert(at, spare.pop())
        text = saved(*(drop(ADDRESSES[n]) for n in numbers))
        made = firewall.apply_text(text, Family.IPV4)
        in_place += made.lineage == first.lineage
        come = [ADDRESSES[numbers[at]]] if at < len(numbers) else []
        left = [ADDRESSES[n] for n in gone]
        assert reached(namespace, *come, *left) == set(left)
        assert {address: counted(firewall)[address] for address in watched} == dict.fromkeys(
            watched, 1
        )
    assert in_place > 20
    assert listed(firewall).count("-j DROP") == len(numbers)
