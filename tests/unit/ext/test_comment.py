"""`-m comment`: kept to the byte, and always true."""

from __future__ import annotations

import pytest

from tests.unit.ext.support import Outcome, decide, listed, saved


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ('"a b"', '"a b"'),
        (r'"\"quoted\" it\'s \\"', r'"\"quoted\" it\'s \\"'),
        ('""', '""'),
        ("é", '"é"'),
    ],
)
def test_text(text: str, line: str) -> None:
    assert saved(f"-m comment --comment {text}") == f"-m comment --comment {line}"


def test_listed() -> None:
    assert listed('-m comment --comment "a b"') == "/* a b */"


@pytest.mark.parametrize("letter", ["x", "é"])
def test_long_text_is_cut_at_255_bytes(letter: str) -> None:
    kept = saved(f"-m comment --comment {letter * 300}")
    raw = kept.removeprefix("-m comment --comment ").strip('"').encode("utf-8", "surrogateescape")
    assert raw == (letter * 300).encode()[:255]


def test_always_true() -> None:
    assert decide("-m comment --comment x") is Outcome.MATCH
