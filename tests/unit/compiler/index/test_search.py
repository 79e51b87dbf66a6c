"""The index finds what a plain walk over the rules finds, within the steps it states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.families import model
from bpfilter.compiler.index.rows import KeyWords, Rows
from tests.harness import index_hostile as hostile
from tests.harness.index_rows import (
    IPV4,
    Generator,
    everything,
    hosts,
    like_classbench,
    packets_within,
    rows_of,
)
from tests.harness.index_search import build, compare, packets_of

FAMILIES: dict[str, Callable[[int, Generator], Rows]] = {
    "hosts": hosts,
    "acl": lambda n, random: like_classbench("acl", n, random),
    "fw": lambda n, random: like_classbench("fw", n, random),
    "ipc": lambda n, random: like_classbench("ipc", n, random),
    "ranges": hostile.ranges,
    "two ranges": hostile.two_ranges,
    "short ranges": hostile.short_ranges,
    "nested": hostile.nested,
    "same": hostile.same,
    "repeated": hostile.repeated,
    "masks": hostile.masks,
    "holes": hostile.holes,
    "one bucket": hostile.one_bucket,
}
#: Share of the rules that are terminal with nothing more to ask.
HIDING = [1.0, 0.7, 0.0]


def check(rows: Rows, key: KeyWords, random: Generator, packets: int) -> None:
    built = build(rows, key)
    which = random.integers(0, len(rows), packets)
    words, protos = packets_within(rows, which, random, key)
    half = packets // 2
    words[half:] = hostile.near_misses(words[half:], random)
    compare(built, packets_of(words, protos, key))


@pytest.mark.parametrize("hiding", HIDING)
@pytest.mark.parametrize("family", FAMILIES)
def test_first_match(family: str, hiding: float) -> None:
    random = np.random.default_rng(len(family))
    # where nothing hides, a packet meets every rule that it matches
    many = 1500 if hiding else 400
    rows = FAMILIES[family](many, random)
    rows.hides &= random.random(len(rows)) < hiding
    check(rows, IPV4, random, 300 if hiding else 40)


@pytest.mark.parametrize("hiding", HIDING)
def test_words_that_records_do_not_see(hiding: float) -> None:
    random = np.random.default_rng(6)
    rows = hostile.ipv6(1200, random)
    rows.hides &= random.random(len(rows)) < hiding
    check(rows, hostile.IPV6, random, 300)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 30])
def test_few_rules(n: int) -> None:
    random = np.random.default_rng(n)
    for name in FAMILIES:
        check(FAMILIES[name](n, random), IPV4, random, 30)


def test_no_rules() -> None:
    built = build(rows_of(everything(0)), IPV4)
    assert built.index.steps == 0
    compare(built, packets_of(np.zeros((1, 3), np.uint32), np.array([6]), IPV4))


def test_orders_with_gaps() -> None:
    random = np.random.default_rng(3)
    rows = like_classbench("fw", 800, random)
    rows.order = np.cumsum(random.integers(1, 1 << 14, len(rows))).astype(np.uint32)
    check(rows, IPV4, random, 300)


def test_more_kinds_than_16_bits_can_number() -> None:
    """Each rule has a range of ports of its own."""
    random = np.random.default_rng(4)
    n = 70_000
    boxes = everything(n)
    boxes.source = random.permutation(n).astype(np.uint32)
    boxes.source_length[:] = 32
    low, high = np.divmod(np.arange(n), 280)
    boxes.dports = np.column_stack([low, 1000 + high]).astype(np.uint16)
    check(rows_of(boxes), IPV4, random, 100)


PREFIX = st.tuples(st.sampled_from([0, 1, 30, 31, 32]), st.integers(0, 3))
PORTS = st.sampled_from([(0, 65535), (0, 0), (7, 7), (0, 7), (4, 9), (8, 65535), (1, 65534)])
RULE = st.tuples(PREFIX, PREFIX, PORTS, PORTS, st.sampled_from([0, 6]), st.booleans())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(RULE, min_size=1, max_size=60), st.integers(0, 1 << 20))
def test_small_boxes(rules: list[tuple[tuple[int, ...], ...]], seed: int) -> None:
    # few values, so that rules overlap in every way
    random = np.random.default_rng(seed)
    boxes = everything(len(rules))
    sources, targets, sports, dports, protos, hides = zip(*rules, strict=True)
    boxes.source_length, boxes.source = np.array(sources, np.int64).T
    boxes.target_length, boxes.target = np.array(targets, np.int64).T
    boxes.source, boxes.target = boxes.source.astype(np.uint32), boxes.target.astype(np.uint32)
    boxes.sports, boxes.dports = np.array(sports, np.uint16), np.array(dports, np.uint16)
    boxes.proto = np.array(protos, np.uint8)
    built = build(rows_of(boxes, np.array(hides)), IPV4)
    words = random.integers(0, 4, (40, 3), dtype=np.uint32)
    ports = random.choice(np.array([0, 1, 4, 7, 8, 9, 65534, 65535], np.uint32), (40, 2))
    words[:, 2] = ports[:, 0] << np.uint32(16) | ports[:, 1]
    protos_seen = random.choice(np.array([model.TCP, model.UDP]), 40)
    compare(built, packets_of(words, protos_seen, IPV4))


@pytest.mark.parametrize("name", ["ranges", "short ranges", "same", "repeated"])
def test_what_hides_makes_hostile_rules_few(name: str) -> None:
    rows = FAMILIES[name](10_000, np.random.default_rng(2))
    built = build(rows, IPV4)
    assert built.index.steps < 60
    assert built.index.hidden > 8000


@pytest.mark.parametrize("name", FAMILIES)
def test_memory_is_bounded(name: str) -> None:
    rows = FAMILIES[name](10_000, np.random.default_rng(2))
    rows.hides[:] = False
    index = build(rows, IPV4).index
    assert index.hidden == 0
    # records and their copies, entries
    assert index.bytes < 32 * (4 * len(rows) + 20_000) + (5 << 20)
