"""Addresses with masks: what `-s` and `-d` take, and what iptables-save and -L print.

Bytes are in network order throughout. Host names are not looked up: a rule must mean
the same wherever and whenever it is read, so only numbers (and `localhost`) are taken.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from bpfilter.errors import RuleError
from bpfilter.rules.model import Address, Family
from bpfilter.rules.registry import Word
from bpfilter.rules.values import to_number

_OCTETS = {str(number): number for number in range(256)}
_LOCALHOST = {Family.IPV4: b"\x7f\0\0\1", Family.IPV6: bytes(15) + b"\1"}


def parse_addresses(word: Word, family: Family, inverted: bool = False) -> tuple[Address, ...]:
    """Read `ADDRESS[/MASK][,…]` (xtables_ipparse_multiple, xtables_ip6parse_multiple).

    Raises: RuleError for a name, a bad mask, or `!` with several addresses.
    """
    parts = word.text.split(",")
    if inverted and len(parts) > 1:
        raise RuleError(
            "! not allowed with multiple source or destination IP addresses", word.span
        )
    return tuple([_one(part.lstrip(" \t\n\v\f\r"), word, family, inverted) for part in parts])


def parse_masked(word: Word, family: Family) -> tuple[bytes, bytes]:
    """Read one `ADDRESS[/MASK]` for an extension; gives (address and mask, mask)."""
    made = _one(word.text, word, family, inverted=False)
    return made.value, made.mask


def parse_host(text: str, family: Family) -> bytes | None:
    """Read one numeric address without a mask; None if it is not one."""
    if text == "localhost":
        return _LOCALHOST[family]
    if family is Family.IPV4:
        return _dotted(text, is_mask=False)
    return _colons(text)


def parse_number_host(text: str, family: Family) -> bytes | None:
    """Read an address as getaddrinfo(3) reads numbers, for options that go through it.

    As inet_aton: the last of one to four parts fills the bytes that are left, so `10.1`
    is 10.0.0.1, where `-s` takes it for 10.1.0.0. None if it is not a number.
    """
    if family is Family.IPV6 or text == "localhost":
        return parse_host(text, family)
    numbers = [None if part[:1] == "+" else to_number(part) for part in text.split(".")]
    if len(numbers) > 4 or any(part[:1].isspace() for part in text.split(".")):
        return None
    limits = [255] * (len(numbers) - 1) + [(1 << 8 * (5 - len(numbers))) - 1]
    value = 0
    for at, (number, limit) in enumerate(zip(numbers, limits, strict=True)):
        if number is None or number > limit:
            return None
        value |= number << (8 * (3 - at)) if at < len(numbers) - 1 else number
    return value.to_bytes(4, "big")


def parse_mask(text: str, word: Word, family: Family) -> bytes:
    """Read a mask: a prefix length, or an address of any shape. Raises: RuleError."""
    mask = _mask(text, family)
    if mask is None:
        raise RuleError(f"invalid mask `{text}' specified", word.span)
    return mask


def prefix_length(mask: bytes) -> int | None:
    """Give the length of a mask that is ones then zeros, None for any other."""
    bits = int.from_bytes(mask, "big")
    width = len(mask) * 8
    ones = width - (~bits & ((1 << width) - 1)).bit_length()
    return ones if bits == ((1 << ones) - 1) << (width - ones) else None


def format_host(value: bytes) -> str:
    if len(value) == 4:
        return "{}.{}.{}.{}".format(*value)
    return _format_ipv6(value)


def format_saved(value: bytes, mask: bytes) -> str:
    """Give `ADDRESS/MASK` as iptables-save: the length always, or a mask of any other shape."""
    return f"{format_host(value)}/{_format_mask(mask)}"


def format_listed(value: bytes, mask: bytes) -> str:
    """Give `ADDRESS[/MASK]` as `iptables -nL`: no mask if it is a whole host."""
    if mask == b"\xff" * len(mask):
        return format_host(value)
    return format_saved(value, mask)


def _one(text: str, word: Word, family: Family, inverted: bool) -> Address:
    host, slash, mask_text = text.rpartition("/")
    if not slash:
        host, mask = mask_text, b"\xff" * family.address_bytes
    else:
        mask = parse_mask(mask_text, word, family)
    # "if a null mask is given, the name is ignored, like in any/0"
    value = parse_host(host, family) if any(mask) else bytes(len(mask))
    if value is None:
        raise RuleError(f"host/network `{host}' not found", word.span, _hint(host, family))
    masked = int.from_bytes(value, "big") & int.from_bytes(mask, "big")
    return Address(masked.to_bytes(len(mask), "big"), mask, inverted)


def _hint(host: str, family: Family) -> str:
    other = Family.IPV6 if family is Family.IPV4 else Family.IPV4
    if parse_host(host, other) is not None and (other is Family.IPV6 or host.count(".") == 3):
        return f"{other.command} takes this address, {family.command} does not"
    return "names are not looked up; write the address"


@lru_cache(maxsize=512)
def _mask(text: str, family: Family) -> bytes | None:
    width = family.address_bytes * 8
    if family is Family.IPV4:
        mask = _dotted(text, is_mask=True)
    else:
        mask = parse_host(text, family) if text != "localhost" else None
    if mask is None:
        length = to_number(text, 0, width)
        if length is None:
            return None
        mask = (((1 << length) - 1) << (width - length)).to_bytes(family.address_bytes, "big")
    return mask


@lru_cache(maxsize=512)
def _format_mask(mask: bytes) -> str:
    length = prefix_length(mask)
    return format_host(mask) if length is None else str(length)


def _colons(text: str) -> bytes | None:
    import socket  # takes 3 ms, so not for IPv4

    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None


# __numeric_to_ipaddr of libxtables: `10.1` is 10.1.0.0, and each part may be 0x… or 0….
def _dotted(text: str, is_mask: bool) -> bytes | None:
    try:
        a, b, c, d = text.split(".")
        return bytes((_OCTETS[a], _OCTETS[b], _OCTETS[c], _OCTETS[d]))  # the usual form
    except (KeyError, ValueError):
        pass
    parts = text.split(".", 3)
    if is_mask and len(parts) < 4:
        return None
    numbers = []
    for part in parts:
        value = to_number(part, 0, 255)
        if value is None:
            return None
        numbers.append(value)
    return bytes(numbers) + bytes(4 - len(numbers))


# glibc's inet_ntop: the first longest run of two or more zero groups is `::`, and the last
# four bytes are dotted for v4-compatible and v4-mapped addresses.
def _format_ipv6(value: bytes) -> str:
    groups = struct.unpack(">8H", value)
    text = _GROUPS % groups
    if _ZERO_RUNS[-1] not in text:
        return text[1:-1]
    run = next(run for run in _ZERO_RUNS if run in text)
    left, right = text.split(run, 1)
    length = run.count("0")
    if not left and (length == 6 or (length == 5 and groups[5] == 0xFFFF)):
        dotted = format_host(value[12:])
        return f"::{dotted}" if length == 6 else f"::ffff:{dotted}"
    return f"{left[1:]}::{right[:-1]}"


_GROUPS = ":%x" * 8 + ":"
_ZERO_RUNS = [":0" * length + ":" for length in range(8, 1, -1)]
