"""What every match on the packet's headers must keep, over a table of spellings."""

from __future__ import annotations

import pytest

from bpfilter.errors import RefusedError, SourceError
from bpfilter.plan.nodes import U32, All, Any, Contains, Guard, Not, Predicate, Test
from bpfilter.rules.options import format_rule
from tests.unit.ext.support import Spelling, parse, read_spellings

SPELLINGS = read_spellings("packet_spellings.txt")
ACCEPTED = [spelling for spelling in SPELLINGS if spelling.accepted]
REFUSED = [spelling for spelling in SPELLINGS if not spelling.accepted]

#: What iptables-save does not print, and so loses: code ranges.
LOSSY = {
    "-p icmp --icmp-type 3/1:4",
    "-p icmp --icmp-type 8/5:3",
    "-p ipv6-icmp --icmpv6-type 3/1:4",
    "-p 58 --icmpv6-type 8/0:5",
}

#: Chunk flags that iptables takes, but whose bits are not read from the packet.
UNREAD = {"-p sctp --chunk-types any INIT:-", "-p sctp --chunk-types any DATA:B-"}


def by_words(spelling: Spelling) -> str:
    return str(spelling)


@pytest.mark.parametrize("spelling", ACCEPTED, ids=by_words)
def test_written_text_reads_back(spelling: Spelling) -> None:
    rule = parse(spelling.words, spelling.family)
    text = format_rule(rule, "INPUT", spelling.family)
    again = parse(text.removeprefix("-A INPUT"), spelling.family)
    assert format_rule(again, "INPUT", spelling.family) == text
    assert (again == rule) is (spelling.words not in LOSSY)


@pytest.mark.parametrize("spelling", REFUSED, ids=by_words)
def test_refused_with_a_place(spelling: Spelling) -> None:
    with pytest.raises(SourceError) as caught:
        parse(spelling.words, spelling.family)
    assert caught.value.span is not None


@pytest.mark.parametrize("spelling", ACCEPTED, ids=by_words)
def test_predicate_keeps_to_its_fields(spelling: Spelling) -> None:
    rule = parse(spelling.words, spelling.family)
    for match in rule.matches:
        if spelling.words in UNREAD:
            with pytest.raises(RefusedError):
                match.predicate(spelling.family, rule)
        else:
            check(match.predicate(spelling.family, rule))


def check(part: Predicate) -> None:
    match part:
        case Test(field, lo, hi, mask, word):
            top = (1 << field.bits) - 1
            assert 0 <= lo <= hi <= top
            assert mask & top
            assert word < field.words
        case Contains(field, lo, hi):
            assert 0 <= lo <= hi <= U32
        case Guard(field):
            assert field.bits == 2
        case Not(inner):
            check(inner)
        case All(parts) | Any(parts):
            for inner in parts:
                check(inner)


def test_every_extension_is_spelled_both_ways() -> None:
    names = {spelling.extension for spelling in ACCEPTED}
    assert names == {spelling.extension for spelling in REFUSED}
    assert len(names) == 17
