"""Splitting and quoting, judged by add_param_to_argv and xtables_save_string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules.words import (
    MAX_WORD_BYTES,
    MAX_WORDS,
    Text,
    join_words,
    quote,
    split_line,
    split_words,
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-A INPUT  -j\tACCEPT ", ["-A", "INPUT", "-j", "ACCEPT"]),
        ('--comment "two words"', ["--comment", "two words"]),
        (r'"a \"b\" \\ \x"', [r'a "b" \ x']),
        (r"a\b 'c d'", [r"a\b", "'c", "d'"]),
        ('""', [""]),
        ('a"b c"d e', ["ab c", "d", "e"]),
        ('"a""b"', ["a", "b"]),
        ("a\u00a0b\x0bc\rd", ["a\u00a0b\x0bc\rd"]),
        ("", []),
        (" \t ", []),
    ],
)
def test_split(line: str, words: list[str]) -> None:
    assert split_line(line) == words
    assert [word.text for word in split_words(line)] == words


def test_places_of_words() -> None:
    line = '[1:2] -A  X --comment "a b" -j  Y'
    words = split_words(line, "file", 7, offset=5)
    places = [(w.span.column, w.span.end) for w in words if w.span is not None]
    assert [line[start - 1 : end - 1] for start, end in places] == [
        "-A", "X", "--comment", '"a b"', "-j", "Y",
    ]  # fmt: skip
    assert str(words[0].span) == "file:7:7"


def test_unclosed_quote_is_refused_at_the_quote() -> None:
    with pytest.raises(RuleSyntaxError, match="never closed") as caught:
        split_words('-m comment --comment "a \\" b')
    assert caught.value.span is not None
    assert caught.value.span.column == 22
    assert split_line('--comment "a') == []


@pytest.mark.parametrize("letter", ["x", "é"])
def test_long_word(letter: str) -> None:
    fits = letter * (MAX_WORD_BYTES // len(letter.encode()))
    assert split_words(f"a {fits}")[1].text == fits
    with pytest.raises(RuleSyntaxError, match="too long"):
        split_words(f"a {fits}{letter}")
    assert split_line(f"a {fits}{letter}") == []


def test_many_words() -> None:
    assert len(split_words("x " * MAX_WORDS)) == MAX_WORDS
    with pytest.raises(RuleSyntaxError, match="more arguments"):
        split_words("x " * (MAX_WORDS + 1))
    assert split_line("x " * (MAX_WORDS + 1)) == []


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain-word_1", "plain-word_1"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a.b", '"a.b"'),
        ("it's", r'"it\'s"'),
        ('"\\', r'"\"\\"'),
        ("é", '"é"'),
        ("plain\n", '"plain\n"'),
    ],
)
def test_quote(text: str, quoted: str) -> None:
    assert quote(text) == quoted


def test_only_text_is_quoted() -> None:
    assert (
        join_words(["--dports", "1,2", "--comment", Text("1,2")]) == '--dports 1,2 --comment "1,2"'
    )


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=20), max_size=9))
def test_quoted_text_comes_back(texts: list[str]) -> None:
    line = join_words([Text(text) for text in texts])
    assert [word.text for word in split_words(line)] == texts
