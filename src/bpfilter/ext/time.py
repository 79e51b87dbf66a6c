"""`-m time`: the time of day, the day of the week or month, the date (libxt_time.c)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, Use, match
from bpfilter.rules.values import only_one, to_number

_DAY_END = 86399
_NEVER = 0x7FFF_FFFF
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# Bit n is day n, from 1.
_ALL_WEEKDAYS = 0xFE
_ALL_MONTHDAYS = 0xFFFF_FFFE

_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]*)(?:-([0-9]*)(?:T([0-9]*)(?::([0-9]*)(?::([0-9]*))?)?)?)?)?", re.ASCII
)
_CLOCK = re.compile(r"([0-9]*):([0-9]*)(?::([0-9]*))?", re.ASCII)  # nothing means 0


@match("time")
@dataclass(frozen=True, slots=True)
class Time(UnenforcedMatch):
    """Dates are seconds since 1970; times of day are seconds since midnight, inclusive."""

    date_start: int = 0
    date_stop: int = _NEVER
    day_start: int = 0
    day_stop: int = _DAY_END
    monthdays: int = _ALL_MONTHDAYS
    weekdays: int = _ALL_WEEKDAYS
    kernel_zone: bool = False
    contiguous: bool = False

    OPTIONS = (
        Option("--datestart", "time", "from then on: YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"),
        Option("--datestop", "time", "until then"),
        Option("--timestart", "hh:mm[:ss]", "from then on each day"),
        Option("--timestop", "hh:mm[:ss]", "until then each day"),
        Option("--contiguous", "", "a time over midnight is one", values=0),
        Option(
            "--weekdays", "day[,day]", "days of the week, 1 or Mon to 7 or Sun", invertible=True
        ),
        Option("--monthdays", "day[,day]", "days of the month, 1 to 31", invertible=True),
        Option("--localtz", "", "the old name of --kerneltz", values=0),
        Option("--utc", "", "times are UTC; the default", values=0),
        Option("--kerneltz", "", "times are in the time zone of the kernel", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "time", "--utc", "--localtz")
        only_one(given, "time", "--utc", "--kerneltz")
        first, last = given.get("--datestart"), given.get("--datestop")
        start, stop = given.get("--timestart"), given.get("--timestop")
        month, week = given.get("--monthdays"), given.get("--weekdays")
        made = cls(
            _parse_date(first) if first else 0,
            _parse_date(last) if last else _NEVER,
            _parse_clock(start) if start else 0,
            _parse_clock(stop) if stop else _DAY_END,
            _parse_days(month, _monthday, _ALL_MONTHDAYS) if month else _ALL_MONTHDAYS,
            _parse_days(week, _weekday, _ALL_WEEKDAYS) if week else _ALL_WEEKDAYS,
            "--localtz" in given or "--kerneltz" in given,
            "--contiguous" in given,
        )
        if made.contiguous and made.day_start < made.day_stop:
            fail(
                "time: --contiguous only makes sense when stoptime is smaller than starttime",
                given,
            )
        return made

    def format(self, family: Family) -> list[str]:
        words: list[str] = []
        if self._is_part_of_day():
            words += ["--timestart", _clock(self.day_start), "--timestop", _clock(self.day_stop)]
        if self.monthdays != _ALL_MONTHDAYS:
            words += ["--monthdays", ",".join(map(str, _days(self.monthdays, 31)))]
        if self.weekdays != _ALL_WEEKDAYS:
            words += ["--weekdays", self._week()]
        for name, date in (("--datestart", self.date_start), ("--datestop", self.date_stop)):
            words += [name, _date(date, "T")] if date else []
        words += ["--kerneltz"] if self.kernel_zone else []
        return words + (["--contiguous"] if self.contiguous else [])

    def describe(self, family: Family) -> str:
        words = ["TIME"]
        if self._is_part_of_day():
            words += ["from", _clock(self.day_start), "to", _clock(self.day_stop)]
        if self.weekdays != _ALL_WEEKDAYS:
            words += ["on", self._week()]
        if self.monthdays != _ALL_MONTHDAYS:
            words += ["on", ",".join(f"{day}{_ending(day)}" for day in _days(self.monthdays, 31))]
        if self.date_start:
            words += ["starting from", _date(self.date_start, " ")]
        if self.date_stop != _NEVER:
            words += ["until date", *([_date(self.date_stop, " ")] if self.date_stop else [])]
        words += [] if self.kernel_zone else ["UTC"]
        return " ".join([*words, "contiguous"] if self.contiguous else words)

    def _is_part_of_day(self) -> bool:
        return (self.day_start, self.day_stop) != (0, _DAY_END)

    def _week(self) -> str:
        return ",".join(_WEEKDAYS[day - 1] for day in _days(self.weekdays, 7))


def _days(bits: int, last: int) -> list[int]:
    return [day for day in range(1, last + 1) if bits >> day & 1]


def _ending(day: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _date(seconds: int, separator: str) -> str:
    import datetime

    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{when:%Y-%m-%d}{separator}{when:%H:%M:%S}"


def _parse_clock(use: Use) -> int:
    found = _CLOCK.fullmatch(use.value)
    hour, minute, second = (int(part or 0) for part in found.groups()) if found else (99, 0, 0)
    if hour > 23 or minute > 59 or second > 59:
        fail(f'time: invalid time "{use.value}" specified, should be hh:mm[:ss]', use)
    return hour * 3600 + minute * 60 + second


# A day beyond the end of its month is one of the next, as mktime() has it.
def _parse_date(use: Use) -> int:
    import datetime

    found = _DATE.fullmatch(use.value)
    parts = found.groups() if found else ("0",) * 6
    defaults = (0, 1, 1, 0, 0, 0)
    year, month, day, hour, minute, second = (
        default if part is None else int(part or 0)
        for part, default in zip(parts, defaults, strict=True)
    )
    if (
        not 1970 <= year <= 2038
        or month > 12
        or day > 31
        or hour > 23
        or minute > 59
        or second > 59
    ):
        message = f'time: invalid date "{use.value}" specified'
        fail(message, use, "it should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]")
    years, months = divmod(year * 12 + month - 1, 12)
    midnight = datetime.datetime(years, months + 1, 1, tzinfo=datetime.UTC)
    when = midnight + datetime.timedelta(day - 1, hour * 3600 + minute * 60 + second)
    seconds = int(when.timestamp())
    if seconds < 0:
        fail(f'time: date "{use.value}" is before 1970', use)
    return seconds


# Days with commas between; `!` takes all the others.
def _parse_days(use: Use, read: Callable[[str], int | None], everything: int) -> int:
    bits = 0
    for text in use.value.removesuffix(",").split(","):
        day = read(text)
        if day is None:
            fail(f'time: "{text}" is not a valid day for {use.option.name}', use)
        bits |= 1 << day
    return (bits ^ everything if use.inverted else bits) & everything


# Only two characters are looked at.
def _monthday(text: str) -> int | None:
    return to_number(text[:2] or "0", 0, 31)


def _weekday(text: str) -> int | None:
    number = to_number(text[:3], 1, 31)
    if number is not None:
        return number
    names = [name[:2] for name in _WEEKDAYS]
    return names.index(text[:2]) + 1 if text[:2] in names else None
