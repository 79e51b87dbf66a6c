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

from bpfilter.dataclass import dataclass, replace
from bpfilter.errors import StateError
from bpfilter.rules.model import Chain, Counters, Family, Table
from bpfilter.rules.options import format_rule
from bpfilter.rules.saved import MAX_LINE_BYTES, format_chain

OPENING = b"*filter\n"
END = b"COMMIT\n"
_COUNTERS = re.compile(rb"^\[[0-9]+:[0-9]+\] *", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lines:
    """Head and body, each line with its newline; `bytes(lines)` is the text."""

    head: bytes
    body: bytes

    def __bytes__(self) -> bytes:
        return self.head + self.body + END

    @classmethod
    def of_text(cls, text: bytes) -> Lines:
        """Take a kept text apart. Raises: StateError if it is none."""
        if not (text.startswith(OPENING) and text.endswith(b"\n" + END)):
            raise StateError("the rules in force have lost their text")
        end = len(text) - len(END)
        at = len(OPENING)
        while text.startswith(b":", at):
            at = text.index(b"\n", at) + 1
        return cls(text[:at], text[at:end])

    @classmethod
    def of_table(cls, table: Table, family: Family) -> Lines:
        """Write a table, as rules that read back to the same."""
        lines = [
            format_rule(rule, chain.name, family, exact=True) + "\n"
            for chain in table.chains
            for rule in chain.rules
        ]
        return cls(head(table.chains), encode("".join(lines)))

    def rules(self) -> list[bytes]:
        """Give the line of each rule, without newline."""
        return self.body.split(b"\n")[:-1]

    def chains(self) -> list[str]:
        """Name all chains."""
        names = (line[1:].split(b" ", 1)[0] for line in self.head.split(b"\n")[1:-1])
        return [name.decode("utf-8", "surrogateescape") for name in names]

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


def cut(text: bytes) -> tuple[dict[bytes, bytes], bytes] | None:
    """Cut an iptables-save text into its chains, with what it gives as their policies, and a body.

    Of the body it looks at the first line alone, for counters. None if this is not the filter
    table alone, chains first.
    """
    start, end = text.find(OPENING), text.rfind(b"\n" + END) + 1
    around = text[:start] + text[end + len(END) :]
    if not 0 <= start < end or any(line[:1] not in b"#" for line in around.split(b"\n")):
        return None
    at = start + len(OPENING)
    declared: dict[bytes, bytes] = {}
    while text.startswith(b":", at):
        line, _, _ = text[at : at + MAX_LINE_BYTES].partition(b"\n")
        name, *policy = line[1:].split()
        if not policy:
            return None
        declared[name] = policy[0]
        at += len(line) + 1
    body = text[at:end]
    return declared, without_counters(body) if body.startswith(b"[") else body


def without_counters(body: bytes) -> bytes:
    """Give lines without the `[packets:bytes]` before each."""
    return _COUNTERS.sub(b"", body)


def head(chains: Iterable[Chain]) -> bytes:
    """Give the lines that declare chains, without counters."""
    lines = [format_chain(replace(chain, counters=Counters())) + "\n" for chain in chains]
    return OPENING + encode("".join(lines))


def encode(text: str) -> bytes:
    """Give text as it is kept: what was no UTF-8 stays as it was."""
    return text.encode("utf-8", "surrogateescape")
