"""Tables changed in place: what the editor takes, and where rules then are met."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from bpfilter import Family
from bpfilter.compiler.cells import Op, Place
from bpfilter.compiler.counters import COUNTER_NONE
from bpfilter.compiler.frame import MIN_RETURNS
from bpfilter.compiler.lower import lay_out, lower_table
from bpfilter.rules.model import Hook
from tests.harness.cell_vm import run_cells
from tests.harness.editing import BASE, Editing, many

#: With guards before and behind what a rule counts, and what is written differently by target.
ASKED = (
    "-p sctp -m sctp --chunk-types any INIT",
    "-p sctp -m sctp --chunk-types only DATA:U",
    "-p sctp -m sctp ! --chunk-types all INIT,DATA",
    "-p sctp -m sctp --dport 5",
    "-m mark --mark 1",
    "-m mark --mark 2",
    "-m mark ! --mark 2",
    "-p tcp -m multiport --dports 1,2,3",
    "-p tcp",
    "",
)
OWN = ("own", "deep", "deeper")
MANY = many(Family.IPV4)
RULES = [
    *(f"-A {chain} {asked}" for chain in ("INPUT", "own") for asked in ASKED[:8]),
    "-A INPUT -j own",
    "-A own -j deep",
    "-A own -g deeper",
    "-A deep -j deeper",
    "-A FORWARD -m mark --mark 1 -j RETURN",
]
START = [*MANY, *RULES]
#: Values that packet words may have, by field; what is not said has any.
VALUES = {"mark": (0, 1, 2), "proto": (6, 132, 17), "dport": (1, 2, 5)}


def packet(rng: random.Random, places: dict[tuple[str, int], Place]) -> dict[int, int]:
    words: dict[int, int] = {}
    for (name, _), place in places.items():
        values = (0, 0, 0, 1, 2) if name.endswith("guard") else VALUES.get(name, range(4))
        value = 0 if name == "doomed" else rng.choice(values)
        words[place.slot] = words.get(place.slot, 0) | value << place.shift
    return words


def differences(editing: Editing, rng: random.Random) -> list[str]:
    """Evaluate packets with the edited cells, and with those of the same lines compiled."""
    frame = editing.kept().frame()
    compiled = lay_out(lower_table(editing.table(), editing.family), frame)
    counters = [0, 0, *editing.in_order()]
    cells = editing.cells()
    found = []
    for _ in range(60):
        words = packet(rng, frame.places)
        verdict, counted = run_cells(cells, words, Hook.INPUT)
        wanted, expected = run_cells(compiled, words, Hook.INPUT)
        ours = [counter for counter in counted if counter != COUNTER_NONE]
        theirs = [counters[counter] for counter in expected if counter != COUNTER_NONE]
        if (verdict, ours) != (wanted, theirs):
            found.append(f"{words}: {verdict} {ours}, not {wanted} {theirs}")
    return found


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("seed", range(10))
def test_walked_rules_come_and_go(seed: int, family: Family) -> None:
    rng = random.Random(seed)
    editing = Editing(OWN, [*many(family), *RULES], family)
    leads_to = {"INPUT": OWN, "own": OWN[1:], "deep": OWN[2:], "deeper": ()}
    done = 0
    for turn in range(40):
        chain = rng.choice(("INPUT", *OWN))
        lines = editing.lines[chain]
        if lines and rng.random() < 0.4:
            assert editing.remove(chain, rng.randrange(len(lines)))
        else:
            jumps = [f" -{how} {name}" for how in "jg" for name in leads_to[chain]]
            verdicts = ["", " -j ACCEPT", " -j DROP", " -j RETURN"]
            target = rng.choice([*verdicts, *jumps])
            if chain == "INPUT" and target in verdicts[1:] and rng.random() < 0.7:
                target = ""
            line = f"-A {chain} {rng.choice(ASKED)}{target}"
            done += editing.add(line, rng.randint(0, len(lines)))
        assert turn % 5 or not differences(editing, rng)
    assert done > 15


def links(editing: Editing, rules: int) -> int:
    """Count the links on the way by the first rules at INPUT, which have no jumps."""
    cells = editing.cells()
    at, found = cells[Hook.INPUT].lo, 0
    while rules:
        is_link = (cells[at].op, cells[at].lo) == (Op.GOTO, COUNTER_NONE)
        found += is_link
        rules -= cells[at].op == Op.CONTINUE
        at = cells[at].hi if is_link else at + 1
    return found


def test_no_more_steps_for_every_edit() -> None:
    """Links are followed when they are written, not one after the other by packets."""
    editing = Editing(OWN, START)
    for number in range(12):
        assert editing.add("-A INPUT -m mark --mark 1", number % 3)
        assert editing.remove("INPUT", number % 3)
    assert links(editing, 5) <= 7
    editing = Editing(OWN, START)
    for number in range(5):
        assert editing.add("-A INPUT -m mark --mark 0", number)
    assert links(editing, 8) <= 6, "to each of those five, and back"


def test_room_runs_out() -> None:
    editing = Editing(OWN, START)
    done = 0
    while editing.add("-A INPUT -p sctp -m sctp --chunk-types any INIT", 2):
        done += 1
    kept = editing.kept()
    assert done > 10
    assert kept.cells - 20 < kept.used <= kept.cells
    assert not differences(editing, random.Random(1))


def test_in_front_of_an_index() -> None:
    front = ["-A FORWARD -m mark --mark 1", "-A FORWARD -m mark --mark 2 -j own"]
    editing = Editing(OWN, [*front, *START])
    assert editing.counters["FORWARD"][2] == editing.index("FORWARD").first
    for at, in_front in ((0, True), (1, True), (2, True), (5, False), (4, True)):
        assert editing.add(f"-A FORWARD -s 10.9.9.{at}/32", at)
        order = editing.index("FORWARD").order(editing.unused - 1)
        assert (order == 0) == in_front, at
    assert editing.remove("FORWARD", 1)
    assert editing.remove("FORWARD", 2)
    assert editing.remove("FORWARD", 2)
    assert editing.add("-A FORWARD -m mark --mark 1", 2)
    walked = []
    cells = editing.cells()
    at = cells[Hook.FORWARD].lo
    while cells[at].op != Op.FIND:
        cell = cells[at]
        if cell.op in (Op.CONTINUE, Op.JUMP):
            walked.append(cell.lo)
        at = cell.hi if cell.op == Op.GOTO else at + 1
    assert walked == editing.counters["FORWARD"][:4]


def test_counters_are_used_again_in_front_of_an_index() -> None:
    editing = Editing(OWN, ["-A FORWARD -m mark --mark 1", *START])
    counter = editing.counters["FORWARD"][7]
    assert editing.add("-A FORWARD -m mark --mark 2", 0)
    assert editing.remove("FORWARD", 8)
    assert editing.add("-A FORWARD -m mark --mark 1", 0, counter)
    assert editing.add("-A FORWARD -s 10.9.9.9/32", 1)
    index = editing.index("FORWARD")
    in_front = [index.order(each) == 0 for each in editing.counters["FORWARD"][:5]]
    assert in_front == [True, True, True, True, False]
    assert editing.remove("FORWARD", 0)
    assert editing.add("-A FORWARD -s 10.9.9.8/32", 50, counter)
    index = editing.index("FORWARD")
    orders = [index.order(each) for each in editing.counters["FORWARD"]]
    assert orders == sorted(orders)
    assert editing.remove("FORWARD", 50)
    assert index.added.keys() - editing.index("FORWARD").added.keys() == {counter}


def test_what_comes_to_life_is_compiled() -> None:
    """Behind a verdict without condition nothing is laid out."""
    dead = [f"-A {chain} -m mark --mark {n}" for chain in ("INPUT", "FORWARD") for n in range(3)]
    ends = ["-A INPUT -j ACCEPT", "-A FORWARD -j ACCEPT"]
    editing = Editing(OWN, [*START, *ends, *dead])
    for chain in ("INPUT", "FORWARD"):
        at = editing.lines[chain].index(f"-A {chain} -j ACCEPT")
        assert not editing.remove(chain, at)
        assert not editing.remove(chain, at + 1)
        assert not editing.add(f"-A {chain} -m mark --mark 7", at + 2)
        assert editing.add(f"-A {chain} -m mark --mark 7", at)
    at = len(editing.lines["own"])
    assert editing.add("-A own -j RETURN", 0)
    assert editing.remove("own", 0), "laid out are all the others"
    assert len(editing.lines["own"]) == at


def test_where_rules_may_lead() -> None:
    lines = [*START, "-A FORWARD -j other", "-A apart", "-A INPUT -j twin"]
    editing = Editing((*OWN, "apart", "other", "twin"), lines)
    for line in (
        "-A deep -j own",  # loops
        "-A deep -g own",
        "-A deeper -j deeper",
        "-A deeper -g own",
        "-A own -j apart",  # no hook leads there
        "-A own -j other",  # only another hook does
        "-A INPUT -j FORWARD",
        "-A apart -j own",  # not laid out
    ):
        assert not editing.add(line, 0), line
    for line in ("-A INPUT -j deep", "-A INPUT -g deeper", "-A deep -j deeper", "-A own -j deep"):
        assert editing.add(line, 0), line
    assert editing.add("-A INPUT -j twin", 0)
    assert editing.add("-A deep -g twin", 0)
    assert not editing.add("-A twin -j deep", 0), "that would loop by now"
    # What has led somewhere may do so still.
    for at, line in reversed(list(enumerate(editing.lines["own"]))):
        if line.endswith(" deep"):
            assert editing.remove("own", at)
    assert not editing.add("-A deep -j own", 0)


def test_as_many_return_points_as_there_are() -> None:
    deep = [f"c{number}" for number in range(MIN_RETURNS)]
    others = [f"d{number}" for number in range(3)]
    chain = [f"-A {a} -j {b}" for each in (deep, others) for a, b in pairwise(["INPUT", *each])]
    editing = Editing((*deep, *others), [*MANY, *chain])
    assert not editing.add(f"-A {deep[-1]} -j {others[-1]}", 0)
    assert editing.add(f"-A {deep[-1]} -g {others[-1]}", 0)
    assert not editing.add(f"-A {deep[-3]} -j {others[0]}", 0)
    assert editing.add(f"-A {deep[-4]} -j {others[0]}", 0)
    assert not editing.add(f"-A {others[-1]} -j c7", 0), "as deep as it can be by now"


def test_rules_that_may_not_stand_everywhere() -> None:
    owner = "-m owner --uid-owner 5"
    lines = [*MANY, "-A INPUT -j own", "-A OUTPUT -j deep", f"-A OUTPUT {owner}"]
    editing = Editing(OWN, lines)
    assert editing.add(f"-A deep {owner}", 0)
    assert editing.add(f"-A OUTPUT {owner} -j DROP", 1)
    assert not editing.add(f"-A own {owner}", 0)
    assert not editing.add("-A OUTPUT -m mark --mark 1", 0), "no program reads the mark"
    assert not editing.add("-A OUTPUT -j REJECT", 0)


def test_rules_that_may_not_stand_everywhere_though_what_they_ask_is_read() -> None:
    every = ["-A INPUT -s 2001:db8::1/128 -j own", "-A OUTPUT -s 2001:db8::1/128 -j deep"]
    editing = Editing(OWN, [*many(Family.IPV6), *every], Family.IPV6)
    limited = "-m addrtype --src-type MULTICAST --limit-iface-in"
    assert editing.add(f"-A own {limited}", 0)
    assert not editing.add(f"-A deep {limited}", 0)


def test_many_chains_are_read_one_by_one() -> None:
    own = [f"c{number}" for number in range(300)]
    jumps = [f"-A FORWARD -d 10.1.{n >> 8}.{n & 255}/32 -j {name}" for n, name in enumerate(own)]
    editing = Editing(own, [*jumps, *(f"-A {name} -s 10.0.0.1/32" for name in own)])
    for name in ("c7", "c77", "c299"):
        assert editing.add(f"-A {name} -s 10.0.0.2/32 -j DROP", 1)
        assert editing.add(f"-A FORWARD -s 10.0.0.2/32 -j {name}", 300)
    chains = editing.kept().chains
    found = {name: chains.named(name) for name in (*BASE, *own)}
    assert all(chain and chains.at(chain.start) is chain for chain in found.values())
    assert all(chain and chain.name == name for name, chain in found.items())
    assert chains.named("c") is None
