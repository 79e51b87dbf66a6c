"""Text that is to be put in force: not read until that has to be."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from bpfilter.firewall.prepare import Readable

#: Texts of so many lines are read into columns, which an index is built of: it takes numpy,
#: which takes 0.1 s to import, and saves each packet a walk.
LARGE = 64


class GivenText:
    """An iptables-save text; `name` stands for its file in messages.

    `canonical` is one that is known to be as iptables-save writes it.
    """

    def __init__(
        self, text: str | bytes, name: str, family: Family, canonical: bool = False
    ) -> None:
        self.canonical = canonical
        self.text = text
        self.name = name
        self.family = family

    @cached_property
    def raw(self) -> bytes:
        """The text as bytes; none if it cannot be that of a file."""
        if isinstance(self.text, bytes):
            return self.text
        try:
            return self.text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return b""

    @cached_property
    def is_large(self) -> bool:
        # Of a text of some megabytes, the beginning is enough.
        return self.raw.count(b"\n", 0, 1 << 18) >= LARGE or self.raw.count(b"\n") >= LARGE

    @cached_property
    def readable(self) -> Readable:
        """Raises: RuleSyntaxError, RuleError: the first fault, with the others as its notes."""
        if self.is_large:
            from bpfilter.firewall.large import read_large

            large = read_large(self.text, self.name, self.family, self._parsed, self.canonical)
            if large is not None:
                return large
        return self._parsed()

    def _parsed(self) -> Readable:
        from bpfilter.firewall.prepare import ParsedRules
        from bpfilter.rules.saved import parse_saved

        return ParsedRules(parse_saved(self.text, self.name, self.family))
