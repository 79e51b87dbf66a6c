"""Bytes in a second, `512kb/s`: the kernel's inverse cost of 16 bytes, as hashlimit keeps it."""

from __future__ import annotations

import re

from bpfilter.ext._values import fail
from bpfilter.rules.registry import Use
from bpfilter.rules.values import U32, U64, scan_number

#: How long an idle entry stays: XT_HASHLIMIT_BYTE_EXPIRE, and with a burst …_BURST.
EXPIRE_SECONDS = 15
BURST_EXPIRE_SECONDS = 60

_SHIFT = 4  # XT_HASHLIMIT_BYTE_SHIFT
_COUNT = re.compile(r"\s*\+?([0-9]{1,20})", re.ASCII)
_FACTOR = {"m": 1 << 20, "k": 1 << 10}


def cost_to_bytes(cost: int) -> int:
    return ((U32 // cost if cost else U32) - 1) << _SHIFT


def bytes_to_cost(size: int) -> int:
    return U32 // (((size >> _SHIFT) & U32) + 1)


def parse(use: Use) -> int | None:
    """Read `COUNT[k|m]b/s` as a cost; None if it is not a rate of bytes."""
    at = use.value.find("b/s")
    count = _COUNT.match(use.value)
    if at <= 0 or count is None or not int(count[1]):
        return None
    size = int(count[1]) * _FACTOR.get(use.value[at - 1], 1)
    cost = bytes_to_cost(size)
    # user2credits_byte of xt_hashlimit.c makes nothing of a cost of 1.
    if size > U64 or cost < 2:
        fail(f'hashlimit: rate too high "{use.value}"', use)
    return cost


def parse_burst(use: Use, most: int) -> int:
    """Read `COUNT[k|m][b]`; without a unit it is at most `most`."""
    found = scan_number(use.value)
    if found is None or not 1 <= found[0] <= (U64 if found[1] else most):
        fail(f"hashlimit: --hashlimit-burst is out of range (1-{most})", use)
    return found[0] * _FACTOR.get(found[1][:1], 1)


def show(cost: int, burst: int) -> tuple[str, str, int]:
    """Give the rate, the burst ("" without one) and the seconds of the default expiry."""
    size = cost_to_bytes(cost)
    unit, factor = "", 1
    for name, candidate in _FACTOR.items():
        # The mask has 32 bits, so that a rate of 4 GB/s or more is written in bytes.
        if size >= candidate and bytes_to_cost(size & -candidate & U32) == cost:
            unit, factor = name, candidate
            break
    rate = f"{size // factor}{unit}b/s"
    if not burst:
        return rate, "", EXPIRE_SECONDS
    size *= burst
    unit, factor = next(((n, f) for n, f in _FACTOR.items() if size >= f), ("", 1))
    return rate, f"{size // factor}{unit}b", BURST_EXPIRE_SECONDS
