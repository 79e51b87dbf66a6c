"""Values which only some extensions take: keywords, cut texts, values with masks, hosts.

The rest is in `rules.values` and `rules.address`. Reading functions raise RuleError at
the place of the option's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from bpfilter.errors import RuleError
from bpfilter.rules.address import parse_number_host, prefix_length
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Given, Use
from bpfilter.rules.values import U32, to_number


def fail(message: str, at: Use | Given, hint: str = "") -> NoReturn:
    """Raise RuleError at the value of an option, or where the option or extension is named."""
    span = at.words[0].span if isinstance(at, Use) and at.words else at.span
    raise RuleError(message, span, hint)


def keyword(use: Use, owner: str, names: Mapping[str, int]) -> int:
    """Give the number a word stands for; its case is ignored."""
    value = names.get(use.value.lower())
    if value is None:
        known = ", ".join(names)
        fail(f'{owner}: unknown {use.option.name} "{use.value}"', use, f"one of {known}")
    return value


def cut_text(use: Use, owner: str, size: int) -> str:
    """Give a text cut to fit a C array of `size` bytes, as libxtables cuts it without a word."""
    raw = use.value.encode("utf-8", "surrogateescape")
    if not raw:
        fail(f"{owner}: {use.option.name} needs at least one character", use)
    if b"\n" in raw:
        fail(f"{owner}: new lines are not allowed in {use.option.name}", use)
    return raw[: size - 1].decode("utf-8", "surrogateescape")


def value_mask(use: Use, owner: str, names: Mapping[str, int]) -> tuple[int, int]:
    """Read `VALUE[/MASK]`, 32 bits each, or a name without a mask (xtables_parse_val_mask)."""
    if use.value in names:
        return names[use.value], U32
    value_text, slash, mask_text = use.value.partition("/")
    value, mask = to_number(value_text), to_number(mask_text) if slash else U32
    if value is None or mask is None:
        fail(f'{owner}: bad value for option "{use.option.name}", or out of range', use)
    return value, mask


def format_value_mask(value: int, mask: int, names: Mapping[str, int]) -> str:
    """Write `VALUE[/MASK]` in hexadecimal, or the value's name (xtables_print_val_mask)."""
    if mask != U32:
        return f"0x{value:x}/0x{mask:x}"
    return next((name for name, number in names.items() if number == value), f"0x{value:x}")


def host(text: str, at: Use, family: Family) -> bytes:
    """Read one numeric address (xtopt_parse_host, names apart)."""
    value = parse_number_host(text, family)
    if value is None:
        fail(f"host/network `{text}' not found", at, "names are not looked up; write the address")
    return value


def prefix_mask(length: int, family: Family) -> bytes:
    width = family.address_bytes * 8
    return (((1 << length) - 1) << (width - length)).to_bytes(family.address_bytes, "big")


def mask(text: str, at: Use, owner: str, family: Family) -> bytes:
    """Read a prefix length, or a mask in the form of an address (xtopt_parse_plenmask)."""
    width = family.address_bytes * 8
    length = to_number(text, 0, width)
    if length is not None:
        return prefix_mask(length, family)
    found = parse_number_host(text, family) if "." in text or ":" in text else None
    if found is None:
        fail(f'{owner}: bad value for option "{at.option.name}", not a mask or 0-{width}', at)
    return found


def prefix(text: str, at: Use, owner: str, family: Family) -> int:
    """Read a prefix length, or a mask in the form of an address that is one."""
    length = prefix_length(mask(text, at, owner, family))
    if length is None:
        fail(f'{owner}: the mask of option "{at.option.name}" is no prefix', at)
    return length


def host_mask(use: Use, owner: str, family: Family) -> tuple[bytes, bytes]:
    """Read `ADDRESS[/MASK]`; address bits outside the mask are kept (xtopt_parse_hostmask)."""
    text, slash, mask_text = use.value.partition("/")
    if not slash:
        return host(text, use, family), b"\xff" * family.address_bytes
    return host(text, use, family), mask(mask_text, use, owner, family)
