"""`-m hashlimit`: a token bucket for each address, port or pair of them (libxt_hashlimit.c)."""

from __future__ import annotations

import re
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext import _byte_rate as byte_rate
from bpfilter.ext._rate import format_rate, parse_rate
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text, fail, prefix
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import U32, U64, number, only_one

_SCALE = 1_000_000  # XT_HASHLIMIT_SCALE_v2
_BURST = 5
_MAX_BURST = 1_000_000
_GC_INTERVAL_MS = 1000
_NAME_BYTES = 255  # NAME_MAX
# HZ * CREDITS_PER_JIFFY / XT_HASHLIMIT_SCALE_v2 of xt_hashlimit.c, the same for HZ 250 and 1000.
_CREDITS = 137_438_953
# In the order iptables prints them.
_KEYS = ("srcip", "srcport", "dstip", "dstport")

_ATOI = re.compile(r"\s*\+?([0-9]{1,20})", re.ASCII)
_MAX_INTERVAL = 0x7FFF_FFFF
_RATES = ("--hashlimit-upto", "--hashlimit-above")
_TABLE = {
    "size": ("n", "how many buckets the table has"),
    "max": ("n", "how many entries it may have"),
    "gcinterval": ("ms", "how often old entries are taken out"),
    "expire": ("ms", "how long an idle entry stays"),
}


@match("hashlimit")
@dataclass(frozen=True, slots=True)
class Hashlimit(UnenforcedMatch):
    """`rate` is microseconds between packets, or with `is_bytes` the kernel's cost of 16 bytes;
    `burst` is packets, or with `is_bytes` such rates; times of the table are milliseconds.
    """

    name: str
    rate: int
    above: bool = False
    is_bytes: bool = False
    burst: int = _BURST
    keys: frozenset[str] = frozenset()
    size: int = 0
    max: int = 0
    gc_interval_ms: int = _GC_INTERVAL_MS
    expire_ms: int = 1000
    source_length: int = 32
    destination_length: int = 32
    rate_match: bool = False
    interval: int = 0

    OPTIONS = (
        Option(
            "--hashlimit-upto",
            "rate",
            "no faster than this: n[/second|minute|hour|day], or nb/s with k or m",
            invertible=True,
            aliases=("--hashlimit",),
        ),
        Option("--hashlimit-above", "rate", "faster than this", invertible=True),
        Option("--hashlimit-srcmask", "length", "sources of this prefix count together"),
        Option("--hashlimit-dstmask", "length", "destinations of this prefix count together"),
        Option("--hashlimit-burst", "n", "how many may come at once"),
        *(Option(f"--hashlimit-htable-{word}", *text) for word, text in _TABLE.items()),
        Option(
            "--hashlimit-mode", "key[,key]", "what is counted by: srcip, srcport, dstip, dstport"
        ),
        Option(
            "--hashlimit-name", "name", "the table under /proc/net/ipt_hashlimit", required=True
        ),
        Option("--hashlimit-rate-match", "", "compare a measured rate, without tokens", values=0),
        Option("--hashlimit-rate-interval", "seconds", "how long it is measured"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "hashlimit", *_RATES)
        limit = given.get(_RATES[0]) or given.get(_RATES[1])
        if limit is None:
            fail("hashlimit: --hashlimit-upto or --hashlimit-above must be specified", given)
        rate = byte_rate.parse(limit)
        is_bytes, seconds = rate is not None, byte_rate.EXPIRE_SECONDS
        if rate is None:
            rate, seconds = parse_rate(limit, "hashlimit", _SCALE)
        burst, expire_ms = _parse_burst(given, rate, is_bytes, seconds * 1000)
        interval = _parse_interval(given)
        if "--hashlimit-rate-match" in given:
            rate, interval = _match_rate(rate, is_bytes, interval, seconds, limit)
        elif not is_bytes and (rate * burst * _CREDITS & U64) < (rate * _CREDITS & U64):
            fail(
                "hashlimit: the kernel cannot count to this burst at this rate", limit, "try less"
            )
        modes = given.get("--hashlimit-mode")
        size, top, gc_interval, expire = (
            number(use, "hashlimit") if use else None
            for use in (given.get(f"--hashlimit-htable-{word}") for word in _TABLE)
        )
        if gc_interval == 0 or expire == 0:
            fail("hashlimit: the table's gcinterval and expire cannot be 0", given)
        return cls(
            _parse_name(given.all("--hashlimit-name")[0]),
            rate,
            (limit.option.name == "--hashlimit-above") != limit.inverted,
            is_bytes,
            burst,
            _parse_keys(modes) if modes else frozenset(),
            size or 0,
            top or 0,
            gc_interval or _GC_INTERVAL_MS,
            expire or expire_ms,
            _parse_length(given, "--hashlimit-srcmask", context.family),
            _parse_length(given, "--hashlimit-dstmask", context.family),
            "--hashlimit-rate-match" in given,
            interval,
        )

    def format(self, family: Family) -> list[str]:
        words = ["--hashlimit-above" if self.above else "--hashlimit-upto"]
        if self.is_bytes:
            rate, burst, seconds = byte_rate.show(self.rate, self.burst)
            words += [rate, *(["--hashlimit-burst", burst] if burst else [])]
        else:
            rate, seconds = format_rate(self.rate, _SCALE)
            words += [rate, "--hashlimit-burst", str(self.burst)]
        if self.keys:
            words += ["--hashlimit-mode", self._keys(",")]
        words += ["--hashlimit-name", self.name]
        return words + self._table("--hashlimit-", seconds, family)

    def describe(self, family: Family) -> str:
        words = ["limit: above" if self.above else "limit: up to"]
        if self.is_bytes:
            rate, burst, seconds = byte_rate.show(self.rate, self.burst)
            words += [rate, *([f"burst {burst}"] if burst else [])]
        else:
            rate, seconds = format_rate(self.rate * (self.interval or 1), _SCALE)
            words += [rate, f"burst {self.burst}"]
        if self.keys:
            words.append(f"mode {self._keys('-')}")
        return " ".join(words + self._table("", seconds, family))

    def _keys(self, separator: str) -> str:
        return separator.join(key for key in _KEYS if key in self.keys)

    # What differs from the defaults; the default expiry goes with the unit that was printed.
    def _table(self, start: str, seconds: int, family: Family) -> list[str]:
        whole = family.address_bytes * 8
        words: list[str] = []
        for name, value, default in (
            ("htable-size", self.size, 0),
            ("htable-max", self.max, 0),
            ("htable-gcinterval", self.gc_interval_ms, _GC_INTERVAL_MS),
            ("htable-expire", self.expire_ms, seconds * 1000),
            ("srcmask", self.source_length, whole),
            ("dstmask", self.destination_length, whole),
        ):
            if value != default:
                words += [start + name, str(value)]
        if self.rate_match:
            words.append(f"{start}rate-match")
            if self.interval != 1:
                words += [f"{start}rate-interval", str(self.interval)]
        return words


def _parse_burst(given: Given, rate: int, is_bytes: bool, expire_ms: int) -> tuple[int, int]:
    use = given.get("--hashlimit-burst")
    if use is None:
        return (0 if is_bytes else _BURST), expire_ms
    burst = byte_rate.parse_burst(use, _MAX_BURST)
    if not is_bytes:
        if burst > _MAX_BURST:
            fail(f"hashlimit: --hashlimit-burst is out of range (1-{_MAX_BURST})", use)
        return burst, expire_ms
    unit = byte_rate.cost_to_bytes(rate)
    if unit == 0:  # iptables divides by it, and dies
        fail("hashlimit: a rate of less than 16b/s cannot have a burst", use)
    if burst < unit:
        fail(f"hashlimit: burst cannot be smaller than {unit}b", use)
    return -(-burst // unit), byte_rate.BURST_EXPIRE_SECONDS * 1000


# Seconds; it is kept, and shows in the listing, even where no --hashlimit-rate-match uses it.
def _parse_interval(given: Given) -> int:
    use = given.get("--hashlimit-rate-interval")
    if use is None:
        return 0
    found = _ATOI.match(use.value)
    if found is None or not 0 < int(found[1]) <= _MAX_INTERVAL:
        fail(f'hashlimit: Bad value for "{use.option.name}" option: "{use.value}"', use)
    return int(found[1])


def _match_rate(
    rate: int, is_bytes: bool, interval: int, unit_seconds: int, limit: Use
) -> tuple[int, int]:
    if is_bytes:
        return rate, interval or 1
    rate //= unit_seconds
    if not 0 < rate <= U32:
        fail("hashlimit: invalid rate for --hashlimit-rate-match", limit)
    return rate, interval or unit_seconds


def _parse_keys(use: Use) -> frozenset[str]:
    keys = [key for key in use.value.replace("|", ",").split(",") if key]
    unknown = [key for key in keys if key not in _KEYS]
    if unknown:
        fail(f'hashlimit: unknown mode "{unknown[0]}"', use, f"some of {', '.join(_KEYS)}")
    return frozenset(keys)


def _parse_name(use: Use) -> str:
    name = cut_text(use, "hashlimit", _NAME_BYTES)
    if "/" in name or name in (".", ".."):
        fail(f'hashlimit: "{name}" cannot be a name under /proc', use)
    return name


def _parse_length(given: Given, name: str, family: Family) -> int:
    use = given.get(name)
    return prefix(use.value, use, "hashlimit", family) if use else family.address_bytes * 8
