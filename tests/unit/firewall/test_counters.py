"""Counters carried from one ruleset to the next, and put where they belong."""

from __future__ import annotations

from bpfilter import Counters, Family, parse_saved
from bpfilter.compiler.cells import COUNTER_FIRST
from bpfilter.firewall import counters
from bpfilter.rules.model import Table

CHAINS = ":INPUT {} [7:70]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:own - [0:0]\n"
NO_COUNTERS = [0] * (2 * COUNTER_FIRST)


def table(*rules: str, policy: str = "ACCEPT") -> Table:
    text = f"*filter\n{CHAINS.format(policy)}" + "\n".join((*rules, "COMMIT\n"))
    found = parse_saved(text, "test", Family.IPV4).table("filter")
    assert found is not None
    return found


def numbered(of: Table) -> list[int]:
    """Give values that tell themselves apart: packets n, bytes 10 n."""
    values = list(NO_COUNTERS)
    for index in range(len(counters.places(of))):
        values += [index + 1, 10 * (index + 1)]
    return values


def shown(of: Table, values: list[int]) -> dict[str, list[int]]:
    made = counters.with_counters(of, values)
    return {
        chain.name: [chain.counters.packets, *(rule.counters.packets for rule in chain.rules)]
        for chain in made.chains
    }


def test_rules_that_stay_keep_theirs() -> None:
    old = table("-A INPUT -s 1.1.1.1 -j DROP", "-A INPUT -s 2.2.2.2 -j DROP", "-A own")
    new = table("-A INPUT -s 2.2.2.2 -j DROP", "-A INPUT -s 3.3.3.3 -j DROP", "-A own")
    values = counters.carry(old, new, numbered(old), seed=False)
    # policies 1, 2, 3; then INPUT's rules 4 and 5, own's 6
    expected = {"INPUT": [1, 5, 0], "FORWARD": [2], "OUTPUT": [3], "own": [0, 6]}
    assert shown(new, values) == expected


def test_equal_rules_keep_theirs_in_order() -> None:
    old = table("-A own", "-A own -s 1.1.1.1", "-A own")
    new = table("-A own", "-A own", "-A own")
    values = counters.carry(old, new, numbered(old), seed=False)
    assert shown(new, values)["own"] == [0, 4, 6, 0]


def test_a_rule_in_another_chain_is_another_rule() -> None:
    old, new = table("-A INPUT -s 1.1.1.1"), table("-A own -s 1.1.1.1")
    values = counters.carry(old, new, numbered(old), seed=False)
    assert shown(new, values)["own"] == [0, 0]


def test_a_changed_policy_keeps_its_counters() -> None:
    old, new = table(), table(policy="DROP")
    assert shown(new, counters.carry(old, new, numbered(old), seed=False))["INPUT"] == [1]


def test_new_rules_take_what_the_text_says_if_asked() -> None:
    old = table("-A own -s 1.1.1.1")
    new = table("[5:50] -A own -s 1.1.1.1", "[6:60] -A own -s 2.2.2.2")
    assert shown(new, counters.carry(old, new, numbered(old), seed=True))["own"] == [0, 4, 6]
    first = counters.carry(Table("filter"), new, [], seed=True)
    assert shown(new, first) == {"INPUT": [7], "FORWARD": [0], "OUTPUT": [0], "own": [0, 5, 6]}


def test_sums_over_processors() -> None:
    raw = counters.pack([1, 10, 2, 20, 100, 1000, 200, 2000])
    assert counters.sum_cpus(raw, per_cpu=2, cpus=2) == [101, 1010, 202, 2020]


def test_zeroing_is_a_base_that_cancels_out() -> None:
    live = [3, 300, 2**63, 5]
    base = counters.negate(live)
    assert counters.add(base, live) == [0, 0, 0, 0]
    assert counters.add(base, [4, 400, 2**63 + 1, 6]) == [1, 100, 1, 1]
    assert counters.unpack(counters.pack(base)) == base


def test_user_chains_have_no_counters_of_their_own() -> None:
    of = table("-A own")
    made = counters.with_counters(of, numbered(of))
    assert made.chain("own").counters == Counters(0, 0)
    assert made.chain("own").rules[0].counters == Counters(4, 40)
