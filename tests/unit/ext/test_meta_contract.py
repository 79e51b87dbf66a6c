"""What every match beside the headers and every target must keep, over tables of spellings."""

from __future__ import annotations

import pytest

from bpfilter.errors import RefusedError, SourceError
from bpfilter.rules.model import Verdict
from tests.unit.ext.placed import FILES, PlacedSpelling, read_placed
from tests.unit.ext.support import V6
from tests.unit.ext.test_packet_contract import check

SPELLINGS = [spelling for name in FILES for spelling in read_placed(name)]
ACCEPTED = [spelling for spelling in SPELLINGS if spelling.saved is not None]
REFUSED = [spelling for spelling in SPELLINGS if spelling.saved is None]

ENFORCED = {spelling.extension for spelling in read_placed("meta_spellings.txt")}

#: What iptables-save prints, but cannot read again, or reads as something else.
UNREADABLE = {
    "-m hashlimit --hashlimit-above 15b/s --hashlimit-name a9",
    "-m time --datestop 1970",
    "-m time --monthdays 0",
}

#: Options of enforced matches that no program can look at yet.
UNREAD = {"--rt-0-not-strict"}
#: IPv6 address types that take a route look-up.
ROUTED = {"LOCAL", "ANYCAST", "UNREACHABLE"}


def is_unread(spelling: PlacedSpelling) -> bool:
    words = set(spelling.words.replace(",", " ").split())
    routed = spelling.extension == "addrtype" and spelling.place.family is V6 and words & ROUTED
    return bool(words & UNREAD or routed)


@pytest.mark.parametrize("spelling", ACCEPTED, ids=str)
def test_printed_as_iptables_prints(spelling: PlacedSpelling) -> None:
    assert spelling.place.saved(spelling.words) == spelling.saved
    assert spelling.place.listed(spelling.words) == spelling.listed


@pytest.mark.parametrize("spelling", [s for s in ACCEPTED if s.words not in UNREADABLE], ids=str)
def test_written_text_reads_back(spelling: PlacedSpelling) -> None:
    text = spelling.place.saved(spelling.words)
    assert spelling.place.saved(text) == text
    if spelling.extension in ENFORCED:
        assert spelling.place.parse(text) == spelling.place.parse(spelling.words)


@pytest.mark.parametrize("spelling", REFUSED, ids=str)
def test_refused_with_a_place(spelling: PlacedSpelling) -> None:
    with pytest.raises(SourceError) as caught:
        spelling.place.parse(spelling.words)
    assert caught.value.span is not None
    assert caught.value.span.text.endswith(spelling.place.words(spelling.words))


@pytest.mark.parametrize("spelling", ACCEPTED, ids=str)
def test_enforced_or_refused_by_name(spelling: PlacedSpelling) -> None:
    rule = spelling.place.parse(spelling.words)
    if spelling.extension.isupper():
        assert rule.target is not None
        assert not isinstance(rule.target, Verdict)
        return
    match = rule.matches[-1]
    if spelling.extension in ENFORCED and not is_unread(spelling):
        check(match.predicate(spelling.place.family, rule))
        return
    with pytest.raises(RefusedError, match=f"'{spelling.extension}'.*cannot be enforced as eBPF"):
        match.predicate(spelling.place.family, rule)


def test_every_extension_is_spelled_both_ways() -> None:
    names = {spelling.extension for spelling in ACCEPTED}
    assert names == {spelling.extension for spelling in REFUSED}
    assert len(names) == 55
