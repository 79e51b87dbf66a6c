"""`-j IDLETIMER`: tell user space when no packet has come for a time (libxt_IDLETIMER.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text, fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import number

_LABEL_BYTES = 28  # MAX_IDLETIMER_LABEL_SIZE
_MAX_SECONDS = 0x7FFF_FFFF // 1000 - 1  # idletimer_tg_helper keeps milliseconds in an int
# Files that sysfs has beside the timers' (idletimer_check_sysfs_name).
_TAKEN = ("power", "subsystem", "uevent")


@target("IDLETIMER")
@dataclass(frozen=True, slots=True)
class Idletimer(Target):
    """`label` is the timer's file under /sys/class/xt_idletimer/timers."""

    timeout_seconds: int
    label: str
    alarm: bool = False

    OPTIONS = (
        Option("--timeout", "seconds", "how long until the notice", required=True),
        Option("--label", "string", "the name of the timer", required=True),
        Option("--alarm", "", "a timer that runs while the system sleeps", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        use = given.all("--timeout")[0]
        timeout = number(use, "IDLETIMER")
        if not 0 < timeout <= _MAX_SECONDS:
            fail(f"IDLETIMER: the kernel takes a timeout of 1 to {_MAX_SECONDS} seconds", use)
        name = given.all("--label")[0]
        label = cut_text(name, "IDLETIMER", _LABEL_BYTES)
        if label in _TAKEN:
            fail(f'IDLETIMER: "{label}" cannot be a label', name)
        return cls(timeout, label, "--alarm" in given)

    def format(self, family: Family) -> list[str]:
        words = ["--timeout", str(self.timeout_seconds), "--label", self.label]
        return words + (["--alarm"] if self.alarm else [])

    def describe(self, family: Family) -> str:
        alarm = " alarm" if self.alarm else ""
        return f"timeout:{self.timeout_seconds} label:{self.label}{alarm}"
