"""Predicates compiled to cells decide as the predicate does, whatever its shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfilter.compiler.counters import COUNTER_FIRST
from bpfilter.compiler.frame import lay_out_frame
from bpfilter.compiler.lower import lay_out, lower_table
from bpfilter.plan import fields
from bpfilter.plan.nodes import U32, All, Any, Contains, Guard, Not, Predicate, Test
from bpfilter.rules.model import Chain, Family, Hook, Match, Rule, Table, Verdict
from tests.harness.cell_vm import run_cells
from tests.unit.ext.support import Outcome, outcome

# Fields that share words with others, and ones that do not.
TESTED = (fields.PROTO, fields.TTL, fields.SPORT, fields.DPORT, fields.MARK, fields.SADDR)
GUARDS = (fields.TCP_GUARD, fields.UDP_GUARD, fields.SCTPCHUNK_GUARD)


@dataclass(frozen=True, slots=True)
class Drawn(Match):
    """A match that asks what a test drew."""

    part: Predicate
    NAME: ClassVar[str] = "drawn"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return Any((self.part,))  # a match that never holds would be asked for its text


@st.composite
def field_tests(draw: st.DrawFn) -> Predicate:
    field = draw(st.sampled_from(TESTED))
    top = (1 << field.bits) - 1
    near = st.integers(0, 3) | st.integers(0, top) | st.just(top)
    mask = draw(st.sampled_from([U32, top, 1, 0, 0x3]))
    word = draw(st.integers(0, field.words - 1))
    return Test(field, draw(near), draw(near | st.just(U32)), mask, word)


groups = st.builds(Contains, st.just(fields.OWNER_GROUPS), st.integers(0, 9), st.integers(0, 9))
guards = st.builds(Guard, st.sampled_from(GUARDS), st.booleans())
predicates = st.recursive(
    field_tests() | groups | guards,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, max_size=4).map(tuple))
        | st.builds(Any, st.lists(inner, max_size=4).map(tuple))
    ),
    max_leaves=12,
)


@st.composite
def packets(draw: st.DrawFn) -> dict[str, int | list[int]]:
    values: dict[str, int | list[int]] = {}
    for field in TESTED:
        near = st.integers(0, 3) | st.integers(0, (1 << field.bits) - 1)
        values[field.name] = (
            draw(near) if field.words == 1 else [draw(near) for _ in range(field.words)]
        )
    for guard in GUARDS:
        values[guard.name] = draw(st.integers(0, 2))
    values[fields.OWNER_GROUPS.name] = draw(st.lists(st.integers(0, 9), max_size=4))
    return values


@settings(max_examples=1000, deadline=None)
@given(predicates, packets())
def test_cells_decide_as_the_predicate(
    part: Predicate, packet: dict[str, int | list[int]]
) -> None:
    rule = Rule(matches=(Drawn(part),), target=Verdict("DROP"))
    after = Rule(target=Verdict("ACCEPT"))
    table = Table("filter", (Chain("INPUT", (rule, after), policy="DROP"),))
    lowered = lower_table(table, Family.IPV6)
    layout = lay_out_frame(lowered.words[Hook.INPUT], Family.IPV6)
    words: dict[int, int] = {}
    lists: dict[int, list[int]] = {}
    for (name, word), place in layout.places.items():
        if name == fields.OWNER_GROUPS.name:
            listed = packet[name]
            assert isinstance(listed, list)
            lists[place.slot] = listed
            continue
        value = packet.get(name, 0)
        bits = value if isinstance(value, int) else value[word]
        words[place.slot] = words.get(place.slot, 0) | bits << place.shift
    verdict, counted = run_cells(lay_out(lowered, layout), words, Hook.INPUT, lists)
    first, second = COUNTER_FIRST + 1, COUNTER_FIRST + 2
    expected = {
        Outcome.MATCH: ("DROP", first),
        Outcome.MATCH_DROP: ("DROP", first),
        Outcome.MISS: ("ACCEPT", second),
        Outcome.MISS_DROP: ("DROP", None),
        Outcome.DROP: ("DROP", None),
    }[outcome(part, packet)]
    shown = [counter for counter in counted if counter >= COUNTER_FIRST]
    assert (verdict, shown) == (expected[0], [expected[1]] if expected[1] else [])
