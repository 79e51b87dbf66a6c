"""`-m string`: bytes found anywhere in the packet (libxt_string.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import U16, inverted, number, only_one

_MAX_PATTERN_BYTES = 128  # XT_STRING_MAX_PATTERN_SIZE
_ALGORITHMS = ("bm", "kmp", "fsm")
_HEX = "0123456789abcdefABCDEF"


@match("string")
@dataclass(frozen=True, slots=True)
class String(UnenforcedMatch):
    """`first` and `last` bound where the pattern may begin, in bytes from the network header."""

    pattern: bytes
    algorithm: str
    inverted: bool = False
    first: int = 0
    last: int = U16
    any_case: bool = False

    OPTIONS = (
        Option("--from", "offset", "where it may begin"),
        Option("--to", "offset", "where it may last begin"),
        Option("--algo", "bm|kmp", "how it is looked for", required=True),
        Option("--string", "text", "what is looked for", invertible=True),
        Option("--hex-string", "text", "the same, with |bytes in hexadecimal|", invertible=True),
        Option("--icase", "", "in any case", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "string", "--string", "--hex-string")
        use = given.get("--string") or given.get("--hex-string")
        if use is None:
            fail("string: you must specify `--string' or `--hex-string'", given)
        hexadecimal = use.option.name == "--hex-string"
        pattern = _parse_hex(use) if hexadecimal else _bytes(use.value)
        if not 0 < len(pattern) <= _MAX_PATTERN_BYTES:
            fail(f"string: a pattern has 1 to {_MAX_PATTERN_BYTES} bytes", use)
        algorithm = given.all("--algo")[0]
        if algorithm.value not in _ALGORITHMS:
            fail(f'string: unknown algorithm "{algorithm.value}"', algorithm, "bm or kmp")
        first, last = given.get("--from"), given.get("--to")
        made = cls(
            pattern,
            algorithm.value,
            use.inverted,
            number(first, "string", 0, U16) if first else 0,
            number(last, "string", 0, U16) if last else U16,
            "--icase" in given,
        )
        if made.first > made.last:
            fail("string: --from is behind --to", given)
        return made

    def format(self, family: Family) -> list[str]:
        option = "--hex-string" if self._is_hex() else "--string"
        words = inverted([option, self._quoted()], self.inverted)
        words += ["--algo", self.algorithm]
        return words + self._bounds("--from", "--to", "--icase")

    def describe(self, family: Family) -> str:
        text = f"STRING match {'!' if self.inverted else ''} {self._quoted()}"
        return " ".join(
            [text, f"ALGO name {self.algorithm}", *self._bounds("FROM", "TO", "ICASE")]
        )

    def _bounds(self, first: str, last: str, any_case: str) -> list[str]:
        words = [first, str(self.first)] if self.first else []
        words += [last, str(self.last)] if self.last != U16 else []
        return words + ([any_case] if self.any_case else [])

    def _is_hex(self) -> bool:
        printable = all(0x20 <= byte < 0x7F for byte in self.pattern)
        return not printable or self.pattern.endswith(b"\\")

    # Always in quotes, whatever it holds.
    def _quoted(self) -> str:
        if self._is_hex():
            return f'"|{self.pattern.hex()}|"'
        text = self.pattern.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# Text with `|hex digits|` in it, and a backslash before a character that means itself. Right
# behind a `|` that ends digits, both are ordinary characters, as in libxt_string.c.
def _parse_hex(use: Use) -> bytes:
    text, found = _bytes(use.value), bytearray()
    at, is_hex = 0, False
    while at < len(text):
        escaped = text[at : at + 1] == b"\\" and not is_hex
        if text[at : at + 1] == b"|":
            is_hex = not is_hex
            at += 1
            while is_hex and text[at : at + 1] == b" ":
                at += 1
            if at == len(text):
                break
        if is_hex:
            found.append(_hex_byte(text[at : at + 3], use))
            at += 3 if text[at + 2 : at + 3] == b" " else 2
            continue
        if escaped and at + 1 == len(text):
            fail("string: nothing follows the last backslash", use)
        found.append(text[at + escaped])
        at += 1 + escaped
    return bytes(found)


# Two digits, which cannot be the last two bytes of the text.
def _hex_byte(digits: bytes, use: Use) -> int:
    if len(digits) < 3 or any(chr(digit) not in _HEX for digit in digits[:2]):
        shown = digits.decode("utf-8", "replace")
        fail(f'string: "{shown}" is not a byte in hexadecimal', use)
    return int(digits[:2], 16)
