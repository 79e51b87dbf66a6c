"""`-j LED`: make a light blink for each packet (libxt_LED.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import fail
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import U32, to_number
from bpfilter.rules.words import byte_length

_MAX_ID_BYTES = 16  # xt_led_info's id, less "netfilter-" and the NUL
_ENDLESS = U32


@target("LED")
@dataclass(frozen=True, slots=True)
class Led(Target):
    """`delay_ms` is how long the light stays on; `_ENDLESS` for ever."""

    trigger: str
    delay_ms: int = 0
    always_blink: bool = False

    OPTIONS = (
        Option("--led-trigger-id", "name", "the trigger, less `netfilter-'", required=True),
        Option("--led-delay", "ms|inf", "how long the light stays on"),
        Option("--led-always-blink", "", "blink even if the light is on", values=0),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        trigger, delay = given.all("--led-trigger-id")[0], given.get("--led-delay")
        if byte_length(trigger.value) > _MAX_ID_BYTES:
            fail(f"Argument must have a maximum length of {_MAX_ID_BYTES} characters", trigger)
        return cls(
            trigger.value, _parse_delay(delay) if delay else 0, "--led-always-blink" in given
        )

    # %d of an unsigned number, which it takes for a delay before it looks for `inf`.
    def format(self, family: Family) -> list[str]:
        words = ["--led-trigger-id", f'"{self._escaped()}"']
        words += ["--led-delay", str(_signed(self.delay_ms))] if self.delay_ms else []
        return words + (["--led-always-blink"] if self.always_blink else [])

    def describe(self, family: Family) -> str:
        delay = "inf" if self.delay_ms == _ENDLESS else f"{_signed(self.delay_ms)}ms"
        blink = " led-always-blink" if self.always_blink else ""
        return f'led-trigger-id:"{self._escaped()}" led-delay:{delay}{blink}'

    def _escaped(self) -> str:
        return self.trigger.replace("\\", "\\\\").replace('"', '\\"')


def _parse_delay(use: Use) -> int:
    if use.value[:3].lower() == "inf":
        return _ENDLESS
    delay = to_number(use.value)
    if delay is None:
        fail(f"Delay value must be within range 0..{U32}", use)
    return delay


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value
