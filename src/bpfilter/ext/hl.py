"""`-m hl`: hop limit of an IPv6 packet (net/netfilter/xt_hl.c, hl_mt6)."""

from __future__ import annotations

from typing import ClassVar

from bpfilter.dataclass import dataclass
from bpfilter.ext.ttl import Ttl
from bpfilter.rules.registry import V6, Option, match


@match("hl", families=V6)
@dataclass(frozen=True, slots=True)
class Hl(Ttl):
    OPTIONS: ClassVar[tuple[Option, ...]] = (
        Option("--hl-eq", "n", "the hop limit is this", invertible=True, aliases=("--hl",)),
        Option("--hl-lt", "n", "it is less"),
        Option("--hl-gt", "n", "it is greater"),
    )
