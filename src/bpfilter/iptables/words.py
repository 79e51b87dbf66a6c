"""The options of iptables-save and iptables-restore, read as getopt_long(3) reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from bpfilter.dataclass import dataclass, field
from bpfilter.errors import Error


class UsageError(Error):
    """An option is none of these programs', or lacks its value; said without our name."""

    status = 1


@dataclass(frozen=True, slots=True)
class Options:
    """`letter` is what an option is called short; `value` is how many values it has: 0, 1, or
    2 for one that may be left out."""

    names: Mapping[str, tuple[str, int]]
    program: str
    advice: str

    def read(self, words: Sequence[str]) -> Found:
        """Read words. Raises: UsageError in the words of getopt(3)."""
        found = Found()
        todo = list(words)
        while todo:
            word = todo.pop(0)
            if word == "--":
                found.others += todo
                break
            if word.startswith("--"):
                self._long(word, todo, found)
            elif word.startswith("-") and word != "-":
                self._short(word[1:], todo, found)
            else:
                found.others.append(word)
        return found

    def _long(self, word: str, todo: list[str], found: Found) -> None:
        name, equals, value = word[2:].partition("=")
        fitting = [each for each in self.names if each.startswith(name)]
        if name in self.names:
            fitting = [name]
        if not fitting:
            self._fail(f"unrecognized option '{word}'")
        if len(fitting) > 1:
            self._fail(f"option '{word}' is ambiguous")
        letter, values = self.names[fitting[0]]
        if equals and values == 0:
            self._fail(f"option '--{fitting[0]}' doesn't allow an argument")
        if not equals and values == 1:
            if not todo:
                self._fail(f"option '--{fitting[0]}' requires an argument")
            value = todo.pop(0)
        self._take(letter, values, value, todo, found)

    def _short(self, letters: str, todo: list[str], found: Found) -> None:
        known = dict(self.names.values())
        for at, letter in enumerate(letters):
            if letter not in known:
                self._fail(f"invalid option -- '{letter}'")
            values = known[letter]
            value = letters[at + 1 :] if values == 1 else ""
            if values == 1 and not value:
                if not todo:
                    self._fail(f"option requires an argument -- '{letter}'")
                value = todo.pop(0)
            self._take(letter, values, value, todo, found)
            if values == 1:
                break

    def _take(self, letter: str, values: int, value: str, todo: list[str], found: Found) -> None:
        if values == 2 and not value and todo and todo[0][:1] not in ("-", "!"):
            value = todo.pop(0)
        found.values[letter] = value

    def _fail(self, message: str) -> NoReturn:
        raise UsageError(f"{self.program}: {message}\n{self.advice}")


@dataclass(slots=True)
class Found:
    """The options used, by their letters, each with its value; and what is no option."""

    values: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def __contains__(self, letter: str) -> bool:
        return letter in self.values
