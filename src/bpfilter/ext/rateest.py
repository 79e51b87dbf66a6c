"""`-m rateest` and `-j RATEEST`: compare rates, and measure them.

(libxt_rateest.c, libxt_RATEEST.c)
"""

from __future__ import annotations

import math
import re
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text, fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, match, target
from bpfilter.rules.values import U32, inverted, number

_NAME_BYTES = 16  # IFNAMSIZ
_FLOAT = re.compile(r"\s*\+?([0-9]+\.?[0-9]*(?:e[-+]?[0-9]+)?|\.[0-9]+(?:e[-+]?[0-9]+)?)", re.I)
_SECOND = 1_000_000
_TIME_UNITS = {"s": 1e6, "sec": 1e6, "secs": 1e6, "ms": 1e3, "msec": 1e3, "msecs": 1e3}
_TIME_UNITS |= {"us": 1.0, "usec": 1.0, "usecs": 1.0, "": 1.0}
# Bits in a second.
_RATE_UNITS: dict[str, float] = {"": 1.0, "bit": 1.0, "bps": 8.0}
for _power, _letter in enumerate("kmgt", 1):
    _RATE_UNITS |= {f"{_letter}ibit": 1024.0**_power, f"{_letter}bit": 1000.0**_power}
    _RATE_UNITS |= {f"{_letter}ibps": 8 * 1024.0**_power, f"{_letter}bps": 8 * 1000.0**_power}
_MODES = ("--rateest-lt", "--rateest-gt", "--rateest-eq")


@match("rateest")
@dataclass(frozen=True, slots=True)
class MatchRateest(UnenforcedMatch):
    """`mode` is lt, gt or eq; rates are (first, second), None if not asked for.

    Without `second` the rate of `first` is compared with a number.
    """

    first: str
    mode: str
    second: str | None = None
    bytes: tuple[int, int] | None = None
    packets: tuple[int, int] | None = None
    delta: bool = False
    inverted: bool = False

    OPTIONS = (
        Option("--rateest1", "name", "the estimator", aliases=("--rateest",)),
        Option("--rateest2", "name", "another one, to compare with"),
        Option("--rateest-delta", "", "compare what lies below the given rates", values=0),
        Option("--rateest-bps1", "rate", "bytes in a second", optional_value=True),
        Option(
            "--rateest-bps2",
            "rate",
            "the same, of what it is compared with",
            optional_value=True,
            aliases=("--rateest-bps",),
        ),
        Option("--rateest-pps1", "pps", "packets in a second", optional_value=True),
        Option(
            "--rateest-pps2",
            "pps",
            "the same, of what it is compared with",
            optional_value=True,
            aliases=("--rateest-pps",),
        ),
        Option("--rateest-lt", "", "less than", values=0, invertible=True),
        Option("--rateest-gt", "", "more than", values=0, invertible=True),
        Option("--rateest-eq", "", "equal to", values=0, invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        first, second = given.get("--rateest1"), given.get("--rateest2")
        modes = [use for use in given.uses if use.option.name in _MODES]
        if first is None:
            fail("rateest: --rateest1 names the estimator, and is missing", given)
        if not modes:
            fail("rateest: one of --rateest-lt, --rateest-gt, --rateest-eq is missing", given)
        made = cls(
            cut_text(first, "rateest", _NAME_BYTES),
            modes[-1].option.name[-2:],
            cut_text(second, "rateest", _NAME_BYTES) if second else None,
            _pair(given, "bps"),
            _pair(given, "pps"),
            "--rateest-delta" in given,
            any(use.inverted for use in modes),
        )
        if made.bytes is None and made.packets is None:
            fail("rateest: bytes or packets in a second: one has to be compared", given)
        return made

    def format(self, family: Family) -> list[str]:
        words = ["--rateest-delta"] if self.delta else []
        words += ["--rateest" if self.second is None else "--rateest1", self.first]
        for name, rates in (("bps", self.bytes), ("pps", self.packets)):
            if rates is None:
                continue
            low, high = (_bits(rate) if name == "bps" else str(rate) for rate in rates)
            if self.delta:
                words += [f"--rateest-{name}1", low, *self._mode("--rateest-")]
                words.append(f"--rateest-{name}2")
            else:
                words += [*self._mode("--rateest-"), f"--rateest-{name}"]
            words += [high] if self.delta or self.second is None else []
        return words if self.second is None else [*words, "--rateest2", self.second]

    def describe(self, family: Family) -> str:
        words = ["rateest match", self.first] + (["delta"] if self.delta else [])
        for name, rates in (("bps", self.bytes), ("pps", self.packets)):
            if rates is None:
                continue
            words += [name] + ([str(rates[0])] if self.delta else [])
            if self.second is None:
                number, mode = [str(rates[1])], self._mode("")
                words += number + mode if name == "bps" else mode + number
        if self.second is not None:
            words += [*self._mode(""), self.second]
            for name, rates in (("bps", self.bytes), ("pps", self.packets)):
                if rates is not None:
                    words += [name] + ([str(rates[1])] if self.delta else [])
        return " ".join(words)

    def _mode(self, start: str) -> list[str]:
        return inverted([start + self.mode], self.inverted)


@target("RATEEST")
@dataclass(frozen=True, slots=True)
class Rateest(Target):
    """A sample every 0.25 s times 2^(`interval` + 2); `average` is the weight's logarithm."""

    name: str
    interval: int
    average: int

    OPTIONS = (
        Option("--rateest-name", "name", "the estimator to make or feed", required=True),
        Option("--rateest-interval", "time", "how often it is sampled", required=True),
        Option("--rateest-ewmalog", "time", "how far back its average reaches", required=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        name, interval_use, average_use = (given.all(option.name)[0] for option in cls.OPTIONS)
        interval, average = _parse_time(interval_use), _parse_time(average_use)
        step = next((at for at in range(6) if interval <= (1 << at) * (_SECOND // 4)), None)
        if step is None:
            fail("RATEEST: interval value is too large", interval_use)
        log = next((at for at in range(1, 32) if _reach(interval, at) > average), 32) - 1
        if not 0 < log < 31:
            fail("RATEEST: ewmalog value is out of range", average_use)
        return cls(cut_text(name, "RATEEST", _NAME_BYTES), step - 2, log)

    def format(self, family: Family) -> list[str]:
        return self._words("--rateest-")

    def describe(self, family: Family) -> str:
        return " ".join(self._words(""))

    def _words(self, start: str) -> list[str]:
        interval = (_SECOND << (self.interval + 2)) // 4
        average = interval << self.average & U32
        words = [f"{start}name", self.name, f"{start}interval", _time(interval)]
        return [*words, f"{start}ewmalog", _time(average)]


# Microseconds that an average with this weight looks back.
def _reach(interval: int, log: int) -> float:
    return interval / -math.log(1.0 - 1.0 / (1 << log))


def _time(microseconds: int) -> str:
    if microseconds >= _SECOND:
        return f"{microseconds / _SECOND:.1f}s"
    return f"{microseconds / 1000:.1f}ms" if microseconds >= 1000 else f"{microseconds}us"


def _bits(rate: int) -> str:
    bits = rate * 8.0
    if bits >= 1e9:
        return f"{bits / 1e6:.0f}Mbit"
    return f"{bits / 1e3:.0f}Kbit" if bits >= 1e6 else f"{bits:.0f}bit"


def _pair(given: Given, name: str) -> tuple[int, int] | None:
    uses = [given.get(f"--rateest-{name}{end}") for end in (1, 2)]
    if uses == [None, None]:
        return None
    first, second = (_rate(use, name) if use and use.words else 0 for use in uses)
    return first, second


def _rate(use: Use, name: str) -> int:
    if name == "pps":
        return number(use, "rateest")
    rate = _scaled(use.value, _RATE_UNITS)
    if rate is None or rate / 8 > U32:
        fail(f"rateest: could not parse rate `{use.value}'", use, "such as 250kbit or 2MBps")
    return int(rate / 8)


def _parse_time(use: Use) -> int:
    time = _scaled(use.value, _TIME_UNITS)
    if time is None or time > U32:
        what = use.option.name.removeprefix("--rateest-")
        fail(f'RATEEST: bad {what} value "{use.value}"', use, "such as 250ms or 0.5s")
    return int(time)


# A number with a unit, whose case does not matter.
def _scaled(text: str, units: dict[str, float]) -> float | None:
    found = _FLOAT.match(text)
    scale = units.get(text[found.end() :].lower()) if found else None
    return float(found[1]) * scale if found and scale is not None else None
