"""`-j ULOG`: log to user space by netlink (libipt_ULOG.c).

The kernel lost it in v3.17, commit 7200135bc1e6 "netfilter: kill ulog targets"; iptables
still ships it. NFLOG took its place.
"""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import V4, Context, Given, Option, target
from bpfilter.rules.values import U32, U64, number
from bpfilter.rules.words import Text

_PREFIX_BYTES = 32  # ULOG_PREFIX_LEN
_MAX_QUEUE = 50  # ULOG_MAX_QLEN


@target("ULOG", families=V4)
@dataclass(frozen=True, slots=True)
class Ulog(Target):
    """`copied` bytes of each packet are sent, 0: all; `queued` packets at a time."""

    group: int = 1
    prefix: str = ""
    copied: int = 0
    queued: int = 1

    OPTIONS = (
        Option("--ulog-nlgroup", "group", "the netlink group, 1 to 32"),
        Option("--ulog-prefix", "text", "put before each message"),
        Option("--ulog-cprange", "bytes", "how much of a packet is sent"),
        Option("--ulog-qthreshold", "packets", "how many are sent at once"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        group, prefix, copied, queued = (given.get(option.name) for option in cls.OPTIONS)
        return cls(
            number(group, "ULOG", 1, 32) if group else 1,
            cut_text(prefix, "ULOG", _PREFIX_BYTES) if prefix else "",
            number(copied, "ULOG", 0, U64) if copied else 0,
            number(queued, "ULOG", 1, _MAX_QUEUE) if queued else 1,
        )

    def format(self, family: Family) -> list[str]:
        words = ["--ulog-prefix", Text(self.prefix)] if self.prefix else []
        words += ["--ulog-nlgroup", str(self.group)] if self.group != 1 else []
        words += ["--ulog-cprange", str(self.copied & U32)] if self.copied else []
        return words + (["--ulog-qthreshold", str(self.queued)] if self.queued != 1 else [])

    def describe(self, family: Family) -> str:
        text = f"ULOG copy_range {self.copied & U32} nlgroup {self.group}"
        text += f' prefix "{self.prefix}"' if self.prefix else ""
        return f"{text} queue_threshold {self.queued}"
