"""`-j NFLOG`: hand a copy of the packet to a logger over netlink (libxt_NFLOG.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import U16, number, only_one
from bpfilter.rules.words import Text, join_words

_PREFIX_BYTES = 64  # struct xt_nflog_info


@target("NFLOG")
@dataclass(frozen=True, slots=True)
class Nflog(Target):
    """`size` bytes of a packet are copied, None: all; `range` is an old name, without effect."""

    prefix: str = ""
    group: int = 0
    size: int | None = None
    range: int = 0
    threshold: int = 0

    OPTIONS = (
        Option("--nflog-group", "number", "the netlink group"),
        Option("--nflog-prefix", "text", "put before each message"),
        Option("--nflog-range", "bytes", "of no effect; --nflog-size has"),
        Option("--nflog-size", "bytes", "how much of a packet is sent"),
        Option("--nflog-threshold", "packets", "how many are sent at once"),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        only_one(given, "NFLOG", "--nflog-range", "--nflog-size")
        group, prefix, span, size, threshold = (given.get(option.name) for option in cls.OPTIONS)
        return cls(
            cut_text(prefix, "NFLOG", _PREFIX_BYTES) if prefix else "",
            number(group, "NFLOG", 0, U16) if group else 0,
            number(size, "NFLOG") if size else None,
            number(span, "NFLOG") if span else 0,
            number(threshold, "NFLOG", 0, U16) if threshold else 0,
        )

    def format(self, family: Family) -> list[str]:
        return self._words("--")

    def describe(self, family: Family) -> str:
        return join_words(self._words(""))

    def _words(self, dash: str) -> list[str]:
        words = [f"{dash}nflog-prefix", Text(self.prefix)] if self.prefix else []
        if self.group:
            words += [f"{dash}nflog-group", str(self.group)]
        if self.size is not None:
            words += [f"{dash}nflog-size", str(self.size)]
        elif self.range:
            words += [f"{dash}nflog-range", str(self.range)]
        if self.threshold:
            words += [f"{dash}nflog-threshold", str(self.threshold)]
        return words
