"""`-m dst`: the IPv6 destination options header."""

from __future__ import annotations

from typing import ClassVar

from bpfilter.dataclass import dataclass
from bpfilter.ext._options_header import OptionsHeader, options_of
from bpfilter.plan import fields
from bpfilter.plan.fields import Field
from bpfilter.rules.registry import V6, Option, match


@match("dst", families=V6)
@dataclass(frozen=True, slots=True)
class Dst(OptionsHeader):
    WORD: ClassVar[str] = "dst"
    GUARD: ClassVar[Field] = fields.DST_GUARD
    LENGTH: ClassVar[Field] = fields.DST_LENGTH
    LISTED: ClassVar[Field] = fields.DST_OPTS
    OPTIONS: ClassVar[tuple[Option, ...]] = options_of(WORD)
