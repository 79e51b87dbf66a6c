"""`-m comment`: text that goes with a rule and is always true (libxt_comment.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.plan.nodes import TRUE, Predicate
from bpfilter.rules.model import Family, Match, Rule
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.words import Text, byte_length

#: XT_MAX_COMMENT_LEN less the NUL (linux/netfilter/xt_comment.h); what is longer is cut off.
MAX_COMMENT_BYTES = 255


@match("comment")
@dataclass(frozen=True, slots=True)
class Comment(Match):
    text: str

    OPTIONS = (Option("--comment", "text", "a remark, of no effect", required=True),)

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        text = given.uses[0].value
        if byte_length(text) > MAX_COMMENT_BYTES:
            raw = text.encode("utf-8", "surrogateescape")[:MAX_COMMENT_BYTES]
            text = raw.decode("utf-8", "surrogateescape")
        return cls(text)

    def format(self, family: Family) -> list[str]:
        return ["--comment", Text(self.text)]

    def describe(self, family: Family) -> str:
        return f"/* {self.text} */"

    def predicate(self, family: Family, rule: Rule) -> Predicate:
        return TRUE
