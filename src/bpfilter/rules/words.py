"""A line of rules as words: how iptables-restore splits it, and how iptables-save quotes.

The splitting keeps add_param_to_argv()'s rules (iptables/xshared.c): words end at
blanks and tabs; a double quote opens a stretch in which a backslash takes the next
character literally; the closing quote ends the word even without a blank; single
quotes and backslashes outside double quotes are ordinary characters. One thing
differs on purpose: a quote that is never closed is refused, where iptables-restore
would take the line end into the word.
"""

from __future__ import annotations

from bpfilter.errors import RuleSyntaxError
from bpfilter.rules.registry import Word
from bpfilter.source import Span

#: A word holds fewer bytes than struct xt_param_buf's buffer (iptables/xshared.c).
MAX_WORD_BYTES = 1023
#: MAX_ARGC (iptables/xshared.h) less the three words and the NULL iptables-restore adds.
MAX_WORDS = 251

_PLAIN = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Text(str):
    """A word that iptables-save prints through xtables_save_string: quoted when it needs to be."""

    __slots__ = ()


def split_line(line: str) -> list[str]:
    """Split a line (without its newline) into words; none if `split_words` would raise."""
    if '"' not in line and len(line) <= MAX_WORD_BYTES and line.isascii():
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        return words if len(words) <= MAX_WORDS else []
    try:
        return [word.text for word in split_words(line)]
    except RuleSyntaxError:
        return []


def split_words(line: str, name: str = "<argv>", number: int = 1, offset: int = 0) -> list[Word]:
    """Split as `split_line`, giving each word its place; `offset` characters stand before `line`.

    Raises: RuleSyntaxError with the place of the fault.
    """
    words: list[Word] = []
    text = line
    for word, start, end in _scan(line, offset, name, number):
        span = Span(name, number, start + 1, end + 1, text)
        _check_length(word, span)
        if len(words) == MAX_WORDS:
            raise RuleSyntaxError("Parser cannot handle more arguments", span)
        words.append(Word(word, span))
    return words


def byte_length(text: str) -> int:
    """Give the length in bytes; characters that were not UTF-8 count as the bytes they were."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return len(text.encode("utf-8", "surrogatepass"))


def quote(text: str) -> str:
    """Quote as xtables_save_string (libxtables/xtables.c)."""
    if text and not text.strip(_PLAIN):  # nothing else is in it
        return text
    for special in ("\\", '"', "'"):
        text = text.replace(special, "\\" + special)
    return f'"{text}"'


def is_plain(name: str) -> bool:
    """Tell whether a name that is written as it is, and not as Text, reads back to the same."""
    return not any(char in name for char in ' \t\n"')


def join_words(words: list[str]) -> str:
    """Join words for a line of rules; only `Text` is quoted, as in iptables-save."""
    return " ".join([quote(word) if type(word) is Text else word for word in words])


# Gives (word, start, end) with 0-based columns; starts at `offset` of `line`.
def _scan(
    line: str, offset: int = 0, name: str = "", number: int = 0
) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    kept: list[str] = []
    start = -1
    at = offset
    while at < len(line):
        char = line[at]
        if char == '"':
            start = at if start < 0 else start
            kept_more, at = _quoted(line, at, name, number)
            found.append(("".join(kept) + kept_more, start, at))
            kept.clear()
            start = -1
        elif char in " \t":
            if kept:
                found.append(("".join(kept), start, at))
                kept.clear()
                start = -1
            at += 1
        else:
            start = at if start < 0 else start
            kept.append(char)
            at += 1
    if kept:
        found.append(("".join(kept), start, at))
    return found


# Reads from the opening quote at `at`; gives the text and the index after the closing quote.
def _quoted(line: str, at: int, name: str, number: int) -> tuple[str, int]:
    kept: list[str] = []
    index = at + 1
    while index < len(line):
        char = line[index]
        if char == "\\" and index + 1 < len(line):
            kept.append(line[index + 1])
            index += 2
            continue
        if char == '"':
            return "".join(kept), index + 1
        kept.append(char)
        index += 1
    span = Span(name, number, at + 1, at + 2, line) if number else None
    raise RuleSyntaxError("this quote is never closed", span)


def _check_length(word: str, span: Span | None) -> None:
    if byte_length(word) > MAX_WORD_BYTES:
        raise RuleSyntaxError(
            "Parameter too long!", span, f"a word may have {MAX_WORD_BYTES} bytes"
        )
