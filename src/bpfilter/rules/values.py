"""Values inside a rule's words: text to number and back, each with iptables' own limits.

Extensions build their `parse` from these; every function takes the `Use` (or word) it
reads, so that a fault is shown at its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from bpfilter.errors import RuleError, TableError
from bpfilter.rules import netdb
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Use, Word

U8, U16, U32, U64 = 0xFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF


# strtoul(3); compiled when first needed, as mostly numbers are plain.
@cache
def _number_pattern() -> re.Pattern[str]:
    return re.compile(r"[ \t\n\v\f\r]*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)


def scan_number(text: str) -> tuple[int, str] | None:
    """Read a number from the start of `text` as strtoul(…, 0): decimal, 0x hex, 0 octal.

    Gives the number and what follows it; None if there is no number.
    """
    found = _number_pattern().match(text)
    if found is None:
        return None
    digits = found[1]
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    elif digits[0] == "0":
        value = int(digits, 8)
    else:
        # int() refuses more than 4300 digits, and nothing here is that large.
        value = int(digits) if len(digits) <= 20 else U64 + 1
    return value, text[found.end() :]


def to_count(digits: str) -> int:
    """Read a counter as strtoull(…, 10) does: what is too large is the largest."""
    digits = digits.lstrip("0") or "0"
    return min(int(digits), U64) if len(digits) <= 20 else U64


def to_number(text: str, low: int = 0, high: int = U32) -> int | None:
    """Read a whole word as a number in `low..high`, as xtables_strtoui; None if it is not."""
    if text.isascii() and text.isdecimal() and text[0] != "0" and len(text) <= 20:
        value, rest = int(text), ""  # the usual form, at less cost
    else:
        value, rest = scan_number(text) or (0, "not a number")
    return value if not rest and low <= value <= high else None


def number(use: Use, owner: str, low: int = 0, high: int = U32) -> int:
    """Give an option's value as a number; RuleError as xtopt_parse_int words it."""
    value = to_number(use.value, low, high)
    if value is None:
        raise RuleError(
            f'{owner}: bad value for option "{use.option.name}", or out of range ({low}-{high}).',
            use.words[0].span if use.words else use.span,
        )
    return value


def number_range(use: Use, owner: str, high: int = U32) -> tuple[int, int]:
    """Read `N`, `LOW:HIGH`, `LOW:` or `:HIGH` (xtopt_parse_mint); inclusive."""
    word = use.words[0]
    low_text, colon, high_text = word.text.partition(":")
    if ":" in high_text:
        raise RuleError(
            f'{owner}: Too many components for option "{use.option.name}" (max: 2)', word.span
        )
    bounds: list[int] = []
    for text, default in ((low_text, 0), (high_text, high)):
        least = bounds[0] if bounds else 0
        value = to_number(text, least, high) if text else default
        if value is None:
            raise RuleError(
                f'{owner}: bad value for option "{use.option.name}" near "{text}", '
                f"or out of range ({least}-{high}).",
                word.span,
            )
        bounds.append(value)
    return (bounds[0], bounds[1]) if colon else (bounds[0], bounds[0])


def mark_mask(use: Use, owner: str) -> tuple[int, int]:
    """Read `VALUE[/MASK]` (xtopt_parse_markmask); without a mask it is all ones."""
    word = use.words[0]
    value_text, slash, mask_text = word.text.partition("/")
    value = to_number(value_text)
    mask = to_number(mask_text) if slash else U32
    if value is None or mask is None:
        raise RuleError(
            f'{owner}: bad integer value for option "{use.option.name}", or out of range.',
            word.span,
        )
    return value, mask


def port(text: str, word: Word, protocol: str | None = None) -> int:
    """Read a port number or service name (xtables_parse_port); `protocol` None takes any."""
    value = to_number(text, 0, U16)
    if value is None:
        value = netdb.service_port(text, protocol)
    if value is None:
        raise RuleError(f"invalid port/service `{text}' specified", word.span)
    return value


def port_range(use: Use, protocol: str | None = None) -> tuple[int, int]:
    """Read `PORT`, `LOW:HIGH`, `LOW:` or `:HIGH`; inclusive."""
    word = use.words[0]
    low_text, colon, high_text = word.text.partition(":")
    low = port(low_text, word, protocol) if low_text or not colon else 0
    if not colon:
        return low, low
    high = port(high_text, word, protocol) if high_text else U16
    if low > high:
        raise RuleError("invalid portrange (min > max)", word.span)
    return low, high


def mac_address(use: Use) -> bytes:
    """Read six bytes `xx:xx:xx:xx:xx:xx` (xtopt_parse_ethermac)."""
    parts = use.value.split(":")
    if len(parts) != 6 or not all(re.fullmatch(r"[0-9a-fA-F]{1,2}", part) for part in parts):
        raise RuleError("Invalid MAC address specified.", use.words[0].span)
    return bytes(int(part, 16) for part in parts)


def format_mac(address: bytes, separator: str = ":") -> str:
    return separator.join(f"{byte:02x}" for byte in address)


def format_range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}:{high}"


def inverted(words: list[str], is_inverted: bool) -> list[str]:
    """Give option words with `!` before them if `is_inverted`."""
    return ["!", *words] if is_inverted else words


def choose(use: Use, names: Iterable[str], what: str) -> str:
    """Give the one of `names` that the value spells, in any case."""
    for name in names:
        if name.lower() == use.value.lower():
            return name
    raise RuleError(f'{what} "{use.value}" unknown', use.words[0].span)


def only_one(given: Given, owner: str, *options: str) -> None:
    """Refuse two options of which at most one may be used."""
    used = [use for use in given.uses if use.option.name in options]
    if len({use.option.name for use in used}) > 1:
        raise RuleError(
            f'{owner}: option "{used[0].option.name}" cannot be used together with '
            f'"{used[1].option.name}".',
            used[1].span,
        )


def need_protocol(given: Given, context: Context, owner: str, *numbers: int) -> None:
    """Refuse a rule whose `-p` is not one of `numbers`: the kernel would (xt_check_match)."""
    protocol = context.protocol
    if protocol is None or protocol.inverted or protocol.number not in numbers:
        names = ", ".join(netdb.protocol_name(number) or str(number) for number in numbers)
        raise TableError(TableError.INVALID, f"{owner}: only valid with -p {names}", given.span)


def need_table(given: Given, context: Context, owner: str, *tables: str) -> None:
    """Refuse a rule outside `tables` (xt_check_match, xt_check_target)."""
    if context.table not in tables:
        raise TableError(
            TableError.INVALID,
            f'{owner}: only valid in the {" or ".join(tables)} table, not "{context.table}"',
            given.span,
        )


def need_chains(given: Given, context: Context, owner: str, *chains: str) -> None:
    """Refuse a rule in a base chain other than `chains`; user chains are not followed here."""
    base = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
    if context.chain in base and context.chain not in chains:
        raise TableError(
            TableError.INVALID,
            f'{owner}: only valid in {" and ".join(chains)}, not in "{context.chain}"',
            given.span,
        )


def need_family(given: Given, context: Context, owner: str, family: Family) -> None:
    if context.family is not family:
        raise RuleError(f"{owner}: not known to {context.family.command}", given.span)
