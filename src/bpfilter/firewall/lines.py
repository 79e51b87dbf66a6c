"""The text that is kept of a ruleset in force: its filter table, one line for each rule.

    *filter
    :INPUT DROP [0:0]           head: all chains and their policies, as iptables-save prints them
    -A INPUT -p tcp …           body: a line for each rule, all of one chain in their order
    COMMIT

It has no counters, and is bytes, as it lies in its file. Rules of a small table are written
as iptables-save does, but for what that loses (`format_rule` with `exact`); those of a large
one are the lines they were read from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import StateError
from bpfilter.firewall.stretch import Stretch

if TYPE_CHECKING:
    from bpfilter.rules.model import Chain, Family, Table

TABLE = "filter"
OPENING = b"*filter\n"
END = b"COMMIT\n"
_COUNTERS = rb"(?m)^\[[0-9]+:[0-9]+\] *"


@dataclass(frozen=True, slots=True)
class Lines:
    """A kept text, whose body begins at `start`."""

    text: bytes
    start: int

    @classmethod
    def of(cls, head: bytes, body: bytes | memoryview) -> Lines:
        """Put a text together."""
        return cls(b"".join((head, body, END)), len(head))

    @classmethod
    def of_text(cls, text: bytes) -> Lines:
        """Take a kept text. Raises: StateError if it is none."""
        if not (text.startswith(OPENING) and text.endswith(b"\n" + END)):
            raise StateError("the rules in force have lost their text")
        return cls(text, _first_rule(text, len(OPENING), len(text) - len(END)))

    @property
    def head(self) -> bytes:
        return self.text[: self.start]

    @property
    def body(self) -> Stretch:
        return Stretch(self.text, self.start, len(self.text) - len(END))

    @classmethod
    def of_table(cls, table: Table, family: Family) -> Lines:
        """Write a table, as rules that read back to the same."""
        from bpfilter.rules.options import format_rule

        lines = [
            format_rule(rule, chain.name, family, exact=True) + "\n"
            for chain in table.chains
            for rule in chain.rules
        ]
        return cls.of(head(table.chains), encode("".join(lines)))

    def rules(self) -> list[bytes]:
        """Give the line of each rule, without newline."""
        return bytes(self.body).split(b"\n")[:-1]

    def chains(self) -> list[str]:
        """Name all chains."""
        names = (line[1:].split(b" ", 1)[0] for line in self.head.split(b"\n")[1:-1])
        return [name.decode("utf-8", "surrogateescape") for name in names]

    def has_chain(self, name: str) -> bool:
        """Tell whether there is a chain of that name, without naming all."""
        declared = b"\n:%b " % encode(name)
        return name.split() == [name] and self.text.find(declared, 0, self.start) >= 0

    def with_counters(self, policies: Sequence[int], rules: Sequence[int]) -> bytes:
        """Give the text with counters where iptables-save -c has them.

        They are packets, bytes, packets, bytes, … of the base chains, whose lines come
        first, and line by line of the rules.
        """
        declared = self.head.split(b"\n")
        for index, pair in enumerate(zip(policies[::2], policies[1::2], strict=True), 1):
            declared[index] = declared[index].replace(b"[0:0]", b"[%d:%d]" % pair)
        counted = zip(rules[::2], rules[1::2], self.rules(), strict=True)
        body = b"".join([b"[%d:%d] %b\n" % line for line in counted])
        return b"\n".join(declared) + body + END


def cut(text: bytes) -> tuple[list[bytes], Stretch] | None:
    """Cut an iptables-save text into the lines that declare its chains, and a body.

    Of the body it looks at the first line alone, for counters. None if this is not the filter
    table alone, chains first.
    """
    start, end = text.find(OPENING), text.rfind(b"\n" + END) + 1
    around = text[:start] + text[end + len(END) :]
    if not 0 <= start < end or any(line[:1] not in b"#" for line in around.split(b"\n")):
        return None
    start += len(OPENING)
    at = _first_rule(text, start, end)
    declared = text[start:at].split(b"\n")[:-1]
    if text.count(b"\n:", start - 1, at) < len(declared):
        return None
    body = Stretch(text, at, end)
    if body.part(0, 1) == b"[":
        body = Stretch.of(without_counters(bytes(body)))
    return declared, body


# Where the line of the first rule begins, with or without counters, or what is behind all.
def _first_rule(text: bytes, start: int, end: int) -> int:
    for first in (b"\n-", b"\n["):
        found = text.find(first, start - 1, end)
        end = end if found < 0 else found + 1
    return end


def without_counters(body: bytes) -> bytes:
    """Give lines without the `[packets:bytes]` before each."""
    return re.sub(_COUNTERS, b"", body)


def head(chains: Iterable[Chain]) -> bytes:
    """Give the lines that declare chains, without counters."""
    from bpfilter.rules.model import Counters
    from bpfilter.rules.saved import format_chain

    lines = [format_chain(replace(chain, counters=Counters())) + "\n" for chain in chains]
    return OPENING + encode("".join(lines))


def encode(text: str) -> bytes:
    """Give text as it is kept: what was no UTF-8 stays as it was."""
    return text.encode("utf-8", "surrogateescape")
