"""`-m hbh`: the IPv6 hop-by-hop options header."""

from __future__ import annotations

from typing import ClassVar

from bpfilter.dataclass import dataclass
from bpfilter.ext._options_header import OptionsHeader, options_of
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.rules.registry import V6, Option, match


@match("hbh", families=V6)
@dataclass(frozen=True, slots=True)
class Hbh(OptionsHeader):
    WORD: ClassVar[str] = "hbh"
    GUARD: ClassVar[Field] = fields.HBH_GUARD
    LENGTH: ClassVar[Field] = fields.HBH_LENGTH
    LISTED: ClassVar[Field] = fields.HBH_OPTS
    OPTIONS: ClassVar[tuple[Option, ...]] = options_of(WORD)
