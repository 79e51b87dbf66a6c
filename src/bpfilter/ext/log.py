"""`-j LOG`: write a line about the packet to the kernel's log (libxt_LOG.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text, fail
from bpfilter.rules.model import Family, Rule, Target
from bpfilter.rules.names import Names
from bpfilter.rules.registry import Context, Given, Option, Use, target
from bpfilter.rules.values import to_number
from bpfilter.rules.words import Text

_PREFIX_BYTES = 30  # struct xt_log_info
_WARNING = 4
# LOG_* (sys/syslog.h)
_LEVELS = {
    "alert": 1, "crit": 2, "debug": 7, "emerg": 0, "error": 3, "info": 6, "notice": 5,
    "panic": 0, "warning": 4,
}  # fmt: skip
_LEVEL_NAMES = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
# XT_LOG_* bits, in the order iptables-save prints them.
_FLAGS = {
    "--log-tcp-sequence": 0x01,
    "--log-tcp-options": 0x02,
    "--log-ip-options": 0x04,
    "--log-uid": 0x08,
    "--log-macdecode": 0x20,
}
_HELP = {
    "--log-tcp-sequence": "with TCP sequence numbers",
    "--log-tcp-options": "with TCP options",
    "--log-ip-options": "with IP options",
    "--log-uid": "with the user of the socket",
    "--log-macdecode": "with MAC addresses and protocol",
}


@target("LOG")
@dataclass(frozen=True, slots=True)
class Log(Target):
    level: int = _WARNING
    prefix: str = ""
    flags: int = 0

    OPTIONS = (
        Option("--log-level", "level", "the level of syslog, number or name"),
        Option("--log-prefix", "text", "put before each line"),
        *(Option(flag, "", text, values=0) for flag, text in _HELP.items()),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        level, prefix = given.get("--log-level"), given.get("--log-prefix")
        return cls(
            _parse_level(level) if level else _WARNING,
            cut_text(prefix, "LOG", _PREFIX_BYTES) if prefix else "",
            sum(bit for flag, bit in _FLAGS.items() if flag in given),
        )

    def format(self, family: Family) -> list[str]:
        words = ["--log-prefix", Text(self.prefix)] if self.prefix else []
        if self.level != _WARNING:
            words += ["--log-level", str(self.level)]
        return words + [flag for flag, bit in _FLAGS.items() if self.flags & bit]

    def describe_named(self, family: Family, names: Names, rule: Rule) -> str:
        if names.numeric:
            text = f"LOG flags {self.flags} level {self.level}"
        else:
            flags = [flag for flag, bit in _FLAGS.items() if self.flags & bit]
            words = ["LOG level", _LEVEL_NAMES[self.level], *flags]
            text = " ".join(words).replace(" --log-", " ")
        return f'{text} prefix "{self.prefix}"' if self.prefix else text


def _parse_level(use: Use) -> int:
    number = to_number(use.value, 0, 7)
    number = _LEVELS.get(use.value) if number is None else number
    if number is None:
        fail(f'log level "{use.value}" unknown', use, f"0 to 7, or one of {', '.join(_LEVELS)}")
    return number
