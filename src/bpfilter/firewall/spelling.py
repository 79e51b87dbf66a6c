"""Lines of rules in one spelling: that of iptables-save, in which equal rules are equal lines.

Most lines of large rulesets are in it already, and reading a rule takes thirty times as long
as seeing that. What is not seen at a glance is read, and written again.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cached_property, lru_cache

from bpfilter.errors import SourceError
from bpfilter.rules.address import format_saved, parse_addresses
from bpfilter.rules.model import Family
from bpfilter.rules.options import RuleParser, format_rule
from bpfilter.rules.registry import Word
from bpfilter.source import Span

_NAME = rb"[^\s\"'\\+!]+"
_NUMBER = rb"(?:0|[1-9][0-9]*)"
_PORTS = rb"(%b(?::%b)?)" % (_NUMBER, _NUMBER)
_ADDRESS = rb"([0-9a-f.:]+/[0-9]+)"
# A comment is quoted if it has to be; what is escaped in it is left to the reader.
_COMMENT = rb'(?: -m comment --comment (?:[\w-]+|"[^"\\]*[^\w"\\-][^"\\]*"))?'
_GLANCE = b"".join(
    (
        rb"-A " + _NAME,
        rb"(?: (?:! )?-s " + _ADDRESS + rb")?(?: (?:! )?-d " + _ADDRESS + rb")?",
        rb"(?: (?:! )?-i " + _NAME + rb"\+?)?(?: (?:! )?-o " + _NAME + rb"\+?)?",
        rb"(?: -p (tcp|udp))?" + _COMMENT,
        rb"(?: -m \3(?: (?:! )?--sport " + _PORTS + rb")?",
        rb"(?: (?:! )?--dport " + _PORTS + rb")?)?" + _COMMENT,
        rb"(?: -[jg] " + _NAME + rb")?",
    )
)
_HOST = rb"(?:%b\.){3}%b/32" % (_NUMBER, _NUMBER)


class Speller:
    """Writes lines in the one spelling; they are rules of a table with these chains."""

    def __init__(self, family: Family, chains: Container[str]) -> None:
        self.family = family
        self.chains = chains

    # Compiled when first needed, for most rulesets have nothing to spell.
    @cached_property
    def _glance(self) -> re.Pattern[bytes]:
        return re.compile(_GLANCE)

    @cached_property
    def _host(self) -> re.Pattern[bytes]:
        return re.compile(_HOST)

    @cached_property
    def _parser(self) -> RuleParser:
        return RuleParser(self.family, "filter", self.chains)

    def spell(self, line: bytes) -> bytes | None:
        """Give a line as iptables-save writes it, None if it cannot be read (any more)."""
        return line if self._is_spelt(line) else self._spelt(line)

    def _is_spelt(self, line: bytes) -> bool:
        found = self._glance.fullmatch(line)
        if found is None:
            return False
        source, destination, _, *ports = found.groups()
        return all(
            self._host.fullmatch(each) or _is_address(each, self.family)
            for each in (source, destination)
            if each is not None
        ) and not any(_is_whole(each) for each in ports if each is not None)

    def _spelt(self, line: bytes) -> bytes | None:
        text = line.decode("utf-8", "surrogateescape")
        span = Span("rules in force", 1, 1, len(text) + 1, text)
        try:
            command = self._parser.parse_line(text, span)
        except SourceError:
            return None
        if command is None:
            return None
        spelt = format_rule(command.rules[0], command.chain, self.family)
        return spelt.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1 << 16)
def _is_address(text: bytes, family: Family) -> bool:
    try:
        (made,) = parse_addresses(Word(text.decode()), family, False)
    except (SourceError, ValueError):
        return False
    return any(made.mask) and format_saved(made.value, made.mask).encode() == text


# Whether a range of ports would be written in another way, or not at all.
def _is_whole(ports: bytes) -> bool:
    first, colon, last = ports.partition(b":")
    return bool(colon) and (first == last or ports == b"0:65535")
