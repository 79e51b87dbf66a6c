"""`-j SECMARK`: give the packet a security context (libxt_SECMARK.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._values import cut_text
from bpfilter.rules.model import Family, Target
from bpfilter.rules.registry import Context, Given, Option, target
from bpfilter.rules.values import need_table

_CONTEXT_BYTES = 256  # SECMARK_SECCTX_MAX


@target("SECMARK")
@dataclass(frozen=True, slots=True)
class Secmark(Target):
    context: str

    OPTIONS = (Option("--selctx", "context", "the SELinux security context", required=True),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        need_table(given, context, "SECMARK", "mangle", "security")
        return cls(cut_text(given.uses[0], "SECMARK", _CONTEXT_BYTES))

    def format(self, family: Family) -> list[str]:
        return ["--selctx", self.context]

    def describe(self, family: Family) -> str:
        return f"SECMARK selctx {self.context}"
