"""`-m u32`: arithmetic on 32-bit words of the packet, compared with ranges (libxt_u32.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self, TypeVar

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import inverted, to_number

T = TypeVar("T")

_MOST = 10  # XT_U32_MAXSIZE: tests, numbers of a location, values of a test
_OPERATORS = ("&", "<<", ">>", "@")
_TOKEN = re.compile(r"\s*(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*|&&|<<|>>|[&@=,:]|\S|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`location` is operators with numbers, the first operator ""; `values` inclusive ranges."""

    location: tuple[tuple[str, int], ...]
    values: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        location = "".join(f"{operator}0x{number:x}" for operator, number in self.location)
        values = ",".join(
            f"0x{low:x}" if low == high else f"0x{low:x}:0x{high:x}" for low, high in self.values
        )
        return f"{location}={values}"


@match("u32")
@dataclass(frozen=True, slots=True)
class U32(UnenforcedMatch):
    tests: tuple[Comparison, ...]
    inverted: bool = False

    OPTIONS = (
        Option(
            "--u32", "tests", "tests such as 0>>22&0x3C@12=5:10", invertible=True, required=True
        ),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.uses[0]
        return cls(_Reader(use).tests(), use.inverted)

    # Always in quotes.
    def format(self, family: Family) -> list[str]:
        return inverted(["--u32", self._quoted()], self.inverted)

    def describe(self, family: Family) -> str:
        return f"u32 {'! ' if self.inverted else ''}{self._quoted()}"

    def _quoted(self) -> str:
        return '"' + "&&".join(map(str, self.tests)) + '"'


# location "=" value {"," value} {"&&" …}; a location is numbers with operators between.
class _Reader:
    def __init__(self, use: Use) -> None:
        self.use = use
        self.left: Iterator[re.Match[str]] = _TOKEN.finditer(use.value)
        self.token = ""
        self.at = 0
        self.advance()

    def advance(self) -> str:
        taken, found = self.token, next(self.left, None)
        self.token = found[1] if found is not None else ""
        self.at = found.start(1) if found is not None else len(self.use.value)
        return taken

    def tests(self) -> tuple[Comparison, ...]:
        tests = [self.test()]
        while self.token == "&&":
            self.advance()
            tests.append(self.test())
        if self.token:
            fail(f'u32: at char {self.at}: expected "," or "&&"', self.use)
        return self.bounded(tests)

    def test(self) -> Comparison:
        location = [("", self.number())]
        while self.token in _OPERATORS:
            operator = self.advance()
            location.append((operator, self.number()))
        if self.token != "=":
            fail(f"u32: at char {self.at}: operator expected", self.use)
        values: list[tuple[int, int]] = []
        while not values or self.token == ",":
            self.advance()
            low = self.number()
            high = low
            if self.token == ":":
                self.advance()
                high = self.number()
            values.append((low, high))
        return Comparison(self.bounded(location), self.bounded(values))

    def number(self) -> int:
        value = to_number(self.token)
        if value is None:
            fail(f"u32: at char {self.at}: not a number or out of range", self.use)
        self.advance()
        return value

    def bounded(self, items: list[T]) -> tuple[T, ...]:
        if len(items) > _MOST:
            fail(f"u32: more than {_MOST} parts where at most so many may be", self.use)
        return tuple(items)
