"""Values which only some extensions take."""

from __future__ import annotations

import pytest

from bpfilter.errors import SourceError
from tests.unit.ext.placed import Place

INPUT = Place()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("-m pkttype --pkt-type nothing", "nothing"),
        ("-j LOG --log-prefix aaa --log-level none", "none"),
        ("-m connlimit --connlimit-above 1 --connlimit-mask 33", "33"),
        ("-m recent --set --mask ::", "::"),
        ("-m policy --dir in --mode tunnel --tunnel-src 1.2.3/33", "1.2.3/33"),
        ("-m realm --realm 1/x", "1/x"),
    ],
)
def test_fault_is_shown_at_the_value(words: str, fault: str) -> None:
    with pytest.raises(SourceError) as caught:
        INPUT.parse(words)
    span = caught.value.span
    assert span is not None
    assert span.text[span.column - 1 : span.end - 1] == fault


@pytest.mark.parametrize(
    ("words", "kept"),
    [("a" * 40, "a" * 29), ("ä" * 20, "ä" * 14 + "\udcc3"), ("x\udcffy", "x\udcffy")],
)
def test_long_texts_are_cut_by_bytes(words: str, kept: str) -> None:
    quoted = kept if kept.isascii() and kept.isalnum() else f'"{kept}"'
    assert INPUT.saved(f"-j LOG --log-prefix {words}") == f"-j LOG --log-prefix {quoted}"
