"""What `-m NAME -h` and `-j NAME -h` print of an extension: its options, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bpfilter.rules.model import Match
from bpfilter.rules.registry import Option

_WIDTH = 79
_TEXT_AT = 32  # the column where texts begin


def extension_help(cls: Any) -> str:
    """Give the help of a match's or target's class, with a newline at its end."""
    kind = "match" if issubclass(cls, Match) else "target"
    if not cls.OPTIONS:
        return f"{cls.NAME} {kind} has no options.\n"
    lines = [f"{cls.NAME} {kind} options:"]
    for option in cls.OPTIONS:
        lines += _option_lines(option)
    return "".join(f"{line}\n" for line in lines)


def option_head(option: Option) -> str:
    """Give `[!] --long-name, --name value`, the longest name first; four blanks for no `[!]`."""
    names = sorted((option.name, *option.aliases), key=len, reverse=True)
    value = f"[{option.metavar}]" if option.optional_value else option.metavar
    sign = "[!] " if option.invertible else "    "
    return f"{sign}{', '.join(names)} {value}".rstrip()


def _option_lines(option: Option) -> Iterator[str]:
    head = option_head(option)
    texts = list(_wrapped(option.help))
    if len(head) < _TEXT_AT:
        yield f"{head:{_TEXT_AT}}{texts.pop(0)}"
    else:
        yield head
    for text in texts:
        yield " " * _TEXT_AT + text


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and _TEXT_AT + len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
