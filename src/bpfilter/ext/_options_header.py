"""What `-m hbh` and `-m dst` share: an IPv6 header of options, its length and its list."""

from __future__ import annotations

from typing import ClassVar, Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.plan.fields import Field
from bpfilter.plan.nodes import U32, All, Guard, Predicate, Test, inverted_if, masked_words, within
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, Use
from bpfilter.rules.values import inverted, number, to_number

_MAX_OPTIONS = 16  # IP6T_OPTS_OPTSNR
_ANY_LENGTH = 0xFF
_PAD1 = 0


@dataclass(frozen=True, slots=True)
class OptionsHeader(Match):
    """`length` is the whole header's, in bytes; an option is (type, length), 255: any length."""

    length: int | None = None
    inverted: bool = False
    options: tuple[tuple[int, int], ...] = ()

    WORD: ClassVar[str]
    GUARD: ClassVar[Field]
    LENGTH: ClassVar[Field]
    LISTED: ClassVar[Field]

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        length, options = given.get(f"--{cls.WORD}-len"), given.get(f"--{cls.WORD}-opts")
        return cls(
            number(length, cls.WORD) if length else None,
            length is not None and length.inverted,
            _parse_options(options, cls.WORD) if options else (),
        )

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self.length is not None:
            words += inverted([f"--{self.WORD}-len", str(self.length)], self.inverted)
        if self.options:
            words += [f"--{self.WORD}-opts", self._list()]
        return words

    def describe(self, family: Family) -> str:
        text = self.WORD
        if self.length is not None:
            text += f" length:{'!' if self.inverted else ''}{self.length}"
        return f"{text} opts {self._list()}" if self.options else text

    def _list(self) -> str:
        return ",".join(
            str(kind) if length == _ANY_LENGTH else f"{kind}:{length}"
            for kind, length in self.options
        )

    # hbh_mt6 (net/ipv6/netfilter/ip6t_hbh.c)
    def predicate(self, family: Family, rule: Rule) -> Predicate:
        parts: list[Predicate] = [Guard(self.GUARD)]
        if self.length is not None:
            same = within(self.LENGTH, self.length, self.length)
            parts.append(inverted_if(self.inverted, same))
        if self.options:
            parts += Test(self.LISTED, len(self.options), U32), self._begins_with_options()
        return All(tuple(parts))

    def _begins_with_options(self) -> Predicate:
        value, mask = bytearray(4), bytearray(4)  # word 0 is the number of options
        for kind, length in self.options:
            exact = kind != _PAD1 and length != _ANY_LENGTH
            value += bytes((kind, length if exact else 0))
            mask += bytes((0xFF, 0xFF if exact else 0))
        half_word = bytes(len(mask) % 4)
        return masked_words(self.LISTED, bytes(value + half_word), bytes(mask + half_word))


def options_of(word: str) -> tuple[Option, ...]:
    return (
        Option(f"--{word}-len", "length", "length of the header in bytes", invertible=True),
        Option(f"--{word}-opts", "type[:length][,...]", "the options it begins with"),
    )


# TYPE[:LENGTH] with commas between; each is cut to 8 bits, and type 0 (Pad1) has no length.
def _parse_options(use: Use, owner: str) -> tuple[tuple[int, int], ...]:
    parts = use.value.split(",")
    if len(parts) > _MAX_OPTIONS:
        fail(f"{owner}: more than {_MAX_OPTIONS} options", use)
    found = []
    for index, part in enumerate(parts):
        kind_text, colon, length_text = part.partition(":")
        kind = to_number(kind_text, 0, 2**64 - 1)
        length = to_number(length_text, 0, 2**64 - 1) if colon else _ANY_LENGTH
        if kind is None or length is None:
            fail(f'{owner}: "{part}" is not TYPE[:LENGTH]', use)
        if colon and not kind & 0xFF:
            fail(f"{owner}: option type 0 (Pad1) has no length", use)
        if colon and index == _MAX_OPTIONS - 1:
            fail(f"{owner}: option {_MAX_OPTIONS} cannot have a length", use)
        found.append((kind & 0xFF, length & 0xFF))
    return tuple(found)
