"""`-m cgroup`: the control group of the packet's socket (libxt_cgroup.c)."""

from __future__ import annotations

from typing import Self

from bpfilter.dataclass import dataclass
from bpfilter.ext._unenforced import UnenforcedMatch
from bpfilter.ext._values import cut_text, fail
from bpfilter.rules.model import Family
from bpfilter.rules.registry import Context, Given, Option, match
from bpfilter.rules.values import inverted, number
from bpfilter.rules.words import Text

_PATH_BYTES = 512  # struct xt_cgroup_info_v2


@match("cgroup")
@dataclass(frozen=True, slots=True)
class Cgroup(UnenforcedMatch):
    """`path` is relative to the root of the cgroup2 file system; else `class_id` is net_cls'."""

    path: str = ""
    class_id: int = 0
    inverted: bool = False

    OPTIONS = (
        Option("--path", "path", "in this cgroup v2, or below it", invertible=True),
        Option("--cgroup", "classid", "the class id of net_cls", invertible=True),
    )

    @classmethod
    def parse(cls, given: Given, context: Context) -> Self:
        path, class_id = given.get("--path"), given.get("--cgroup")
        if (path is None) == (class_id is None):
            fail("cgroup: one of --path and --cgroup must be specified", given)
        if path is not None:
            return cls(cut_text(path, "cgroup", _PATH_BYTES), 0, path.inverted)
        assert class_id is not None
        return cls("", number(class_id, "cgroup"), class_id.inverted)

    def format(self, family: Family) -> list[str]:
        words = ["--path", Text(self.path)] if self.path else ["--cgroup", str(self.class_id)]
        return inverted(words, self.inverted)

    def describe(self, family: Family) -> str:
        return f"cgroup {'! ' if self.inverted else ''}{self.path or self.class_id}"
