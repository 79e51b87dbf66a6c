"""`-m sctp` (sctp_mt): ports, and predicates on chunks against a walk over chunks."""

from __future__ import annotations

import itertools
import random

import pytest

from bpfilter.errors import RefusedError, SourceError
from bpfilter.ext.sctp import CHUNKS
from tests.unit.ext.support import (
    V4,
    Outcome,
    Values,
    bits,
    decide,
    listed,
    outcome,
    parse,
    saved,
)

DATA, INIT, ABORT, COMPLETE = (CHUNKS[n] for n in ("DATA", "INIT", "ABORT", "SHUTDOWN_COMPLETE"))

#: What a packet carries: (type, flags) of each chunk, and whether a malformed one ends it.
Packet = tuple[tuple[tuple[int, int], ...], bool]


@pytest.mark.parametrize(
    ("given", "line", "text"),
    [
        ("-m sctp", "", "sctp"),
        ("--sport 0:65535", " --sport 0:65535", "sctp"),
        ("! --dport 0:65535", " ! --dport 0:65535", "sctp dpts:!0:65535"),
        ("--sport 0x10", " --sport 16", "sctp spt:16"),
        (
            "--chunk-types Only data:bE,SHUTDOWN_COMPLETE:t,INIT,Abort:T",
            " --chunk-types only DATA:bE,INIT,ABORT:T,SHUTDOWN_COMPLETE:t",
            "sctp only 0x0000:bE,0x0001,0x0006:T,0x000E:t",
        ),
        (
            "! --chunk-types any PAD,I_DATA:B",
            " ! --chunk-types any I_DATA,PAD",
            "sctp ! any 0x0040,0x0084",
        ),
        ("--chunk-types all all", " --chunk-types all ALL", "sctp all ALL"),
        ("--chunk-types any ,", " --chunk-types any NONE", "sctp any NONE"),
        ("--chunk-types any DATA:bBI", " --chunk-types any DATA:IB", "sctp any 0x0000:IB"),
    ],
)
def test_text(given: str, line: str, text: str) -> None:
    assert saved(f"-p sctp {given}") == f"-p sctp -m sctp{line}"
    assert listed(f"-p sctp {given}") == text


@pytest.mark.parametrize(
    "given",
    [
        "--sport 6:5",
        "--sport ssh",
        "--sport 70000",
        '--sport ""',
        "--chunk-types none DATA",
        "--chunk-types any 5",
        "--chunk-types any none,data",
        "--chunk-types any DATA:x",
        "--chunk-types any INIT:T",
        "--chunk-types any DATA:-,INIT:-,SACK:-,ABORT:T,ERROR:-",
        "--chunk-types any",
    ],
)
def test_refused(given: str) -> None:
    with pytest.raises(SourceError):
        parse(f"-p sctp {given}")


def test_needs_its_protocol() -> None:
    with pytest.raises(SourceError, match="sctp"):
        parse("-p tcp -m sctp")


def test_flags_that_are_not_read() -> None:
    with pytest.raises(RefusedError, match="INIT"):
        decide("-p sctp --chunk-types any INIT:-")


@pytest.mark.parametrize(
    ("given", "values", "outcome"),
    [
        ("--sport 5:7 ! --dport 9", {"sport": 6, "dport": 8}, Outcome.MATCH),
        ("--sport 5:7 ! --dport 9", {"sport": 6, "dport": 9}, Outcome.MISS),
        ("! --dport 9", {"sctp_guard": 1}, Outcome.MISS),
        ("! --dport 9", {"sctp_guard": 2}, Outcome.DROP),
        # Ports come before the walk over chunks.
        ("--sport 5 --chunk-types all DATA", {"sport": 6, "sctpchunk_guard": 2}, Outcome.MISS),
    ],
)
def test_predicate(given: str, values: Values, outcome: Outcome) -> None:
    assert decide(f"-p sctp {given}", values) is outcome


def fields_of(packet: Packet) -> Values:
    chunks, malformed = packet
    seen = {
        name: sum(1 << flags for flags in {f & mask for t, f in chunks if t == kind})
        for name, kind, mask in (
            ("sctp_data_flags", DATA, 0xF),
            ("sctp_abort_flags", ABORT, 1),
            ("sctp_shutdown_flags", COMPLETE, 1),
        )
    }
    types = bits(*{kind for kind, _ in chunks})
    return {"sctpchunk_guard": 2 if malformed else 0, "sctp_chunks": types, **seen}


def walk(packet: Packet, mode: str, asked: dict[int, tuple[int, int]] | None) -> bool | None:
    """Answer as match_packet, None for a hotdrop; `asked` is (mask, value) by type, None ALL."""
    chunks, malformed = packet

    def fits(kind: int, flags: int) -> bool:
        if asked is None:
            return True
        mask, value = asked.get(kind, (0, 1))
        return flags & mask == value

    left = set(asked) if asked is not None else {-1}
    for kind, flags in chunks:
        if fits(kind, flags):
            left.discard(kind)
            if mode == "any":
                return True
        elif mode == "only":
            return False
    if malformed:
        return None
    return {"any": False, "all": not left, "only": True}[mode]


LISTS: dict[str, dict[int, tuple[int, int]] | None] = {
    "ALL": None,
    "NONE": {},
    "DATA": {DATA: (0, 0)},
    "DATA,INIT": {DATA: (0, 0), INIT: (0, 0)},
    "DATA:Be": {DATA: (3, 2)},
    "DATA:I,PAD": {DATA: (8, 8), CHUNKS["PAD"]: (0, 0)},
    "ABORT:T,SHUTDOWN_COMPLETE:t,INIT": {ABORT: (1, 1), COMPLETE: (1, 0), INIT: (0, 0)},
    "I_FORWARD_TSN,DATA:u": {CHUNKS["I_FORWARD_TSN"]: (0, 0), DATA: (4, 0)},
}


def packets() -> list[Packet]:
    source = random.Random(5)
    kinds = [DATA, DATA, INIT, ABORT, COMPLETE, CHUNKS["PAD"], CHUNKS["I_FORWARD_TSN"], 255]
    made: list[Packet] = [((), True), (((DATA, 3),), False), (((DATA, 0x12),), True)]
    for _ in range(300):
        chunks = tuple(
            (source.choice(kinds), source.randrange(256)) for _ in range(source.randrange(1, 5))
        )
        made.append((chunks, source.random() < 0.3))
    return made


@pytest.mark.parametrize(
    ("mode", "types", "inverted"),
    list(itertools.product(("any", "all", "only"), LISTS, (False, True))),
)
def test_chunks(mode: str, types: str, inverted: bool) -> None:
    words = f"-p sctp {'!' if inverted else ''} --chunk-types {mode} {types}"
    rule = parse(words)
    predicate = rule.matches[0].predicate(V4, rule)
    for packet in packets():
        answer = walk(packet, mode, LISTS[types])
        if answer is None:
            # SCCHECK inverts the false of a hotdrop too, and so the rule is counted.
            expected = Outcome.MATCH_DROP if inverted else Outcome.DROP
        else:
            expected = Outcome.MATCH if answer is not inverted else Outcome.MISS
        assert outcome(predicate, fields_of(packet)) is expected, packet
