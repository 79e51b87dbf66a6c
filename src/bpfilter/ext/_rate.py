"""Packets in a time, `3/min`, as limit and hashlimit keep it: the time between two of them."""

from __future__ import annotations

import re

from bpfilter.ext._values import fail
from bpfilter.rules.registry import Use
from bpfilter.rules.values import U32

_COUNT = re.compile(r"\s*\+?([0-9]+)", re.ASCII)
_READ = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_WRITTEN = (("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1))


def parse_rate(use: Use, owner: str, scale: int) -> tuple[int, int]:
    """Read `COUNT[/UNIT]`; gives the period between packets in 1/`scale` seconds, and the unit's
    seconds. A unit may be cut short.
    """
    count_text, slash, unit_text = use.value.partition("/")
    count = _COUNT.match(count_text)
    unit = 1
    if slash:
        short = unit_text.lower()
        unit = next((size for name, size in _READ.items() if short and name.startswith(short)), 0)
    if count is None or not unit or not 0 < int(count[1][:20]) <= U32:
        fail(f'{owner}: bad rate "{use.value}"', use, "such as 5/second, 3/minute, 1/hour, 9/day")
    period = scale * unit // int(count[1])
    if not period:
        fail(f'{owner}: rate too fast "{use.value}"', use)
    return period, unit


def format_rate(period: int, scale: int) -> tuple[str, int]:
    """Write a period in the smallest unit that loses little; gives also the unit's seconds."""
    best = _WRITTEN[0]
    for name, seconds in _WRITTEN[1:]:
        count, rest = divmod(seconds * scale, period)
        if period > seconds * scale or count < rest:
            break
        best = name, seconds
    name, seconds = best
    return f"{seconds * scale // period}/{name}", seconds
