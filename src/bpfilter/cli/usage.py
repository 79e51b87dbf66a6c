"""Command lines that are wrong: said in one sentence, with a hint, as an Error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from bpfilter.errors import Error

#: What hands used to iptables type, and what does it here.
HABITS = {
    "-L": "list -v",
    "--list": "list -v",
    "-S": "list",
    "--list-rules": "list",
    "-Z": "zero",
    "--zero": "zero",
    "-F": "clear",
    "--flush": "clear",
    **dict.fromkeys(("-A", "-I", "-D", "-R", "-N", "-X", "-P", "-E", "-t"), "apply FILE"),
}


class UsageError(Error):
    """The command line cannot be understood."""

    exit_code = 2


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal.

    argparse makes one of these for every option that is added, and would import `shutil` for
    the width: 5 ms, more than the rest of reading a command line.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError; options are spelt in full."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


def seconds(text: str) -> float:
    """Read an option's number of seconds, as argparse's `type`."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds") from None
    if not 0 <= number <= 86400:
        raise argparse.ArgumentTypeError("must be between 0 and 86400 seconds")
    return number


def deadline(text: str) -> float:
    """Read a number of seconds that a person needs to answer in."""
    number = seconds(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1 second")
    return number


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Give a parser's arguments in the order of its help."""
    return list(parser._actions)


def unknown_command(word: str, known: Iterable[str]) -> UsageError:
    if word in HABITS:
        return UsageError(f"there is no option {word}; for that, use 'bpfilter {HABITS[word]}'")
    if word.startswith("-"):
        return UsageError(f"no command before {word}: options follow it; see 'bpfilter --help'")
    return UsageError(f"there is no command {word}{_guess(word, known)}; see 'bpfilter --help'")


def unknown_option(word: str, parser: argparse.ArgumentParser) -> UsageError:
    """Tell what is left over of a command's arguments."""
    if not word.startswith("-"):
        return UsageError(f"one argument too many: '{word}'; see '{parser.prog} --help'")
    known = [name for action in options(parser) for name in action.option_strings]
    return UsageError(
        f"there is no option {word}{_guess(word, known)}; see '{parser.prog} --help'"
    )


def _columns() -> int:
    # As shutil.get_terminal_size().
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):  # there is none, closed, or no terminal
        return 80


def _guess(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
