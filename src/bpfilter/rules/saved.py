"""iptables-save text, both ways.

Reading keeps iptables-restore's grammar (iptables/iptables-restore.c): `*TABLE`,
`:CHAIN POLICY [packets:bytes]`, `[packets:bytes] -A CHAIN …`, `COMMIT`, `#` comments and
empty lines, each at the very start of its line. Counters are always read. Three things
differ on purpose: a last line without a newline may be COMMIT, lines longer than
iptables-restore's buffer and NUL bytes are refused rather than cut, and tables the text
does not name are absent rather than left as they were. Base chains whose policies it does
not declare are marked as such, for whoever knows the policies in force.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Container, Sequence
from functools import cache
from typing import TYPE_CHECKING

from bpfilter.dataclass import dataclass
from bpfilter.errors import RuleSyntaxError, SourceError
from bpfilter.rules.check import check_table
from bpfilter.rules.draft import Command, Draft
from bpfilter.rules.edit import TableDraft
from bpfilter.rules.model import TABLES, Chain, Counters, Family, Ruleset, Table
from bpfilter.rules.options import RuleParser
from bpfilter.rules.values import to_count
from bpfilter.rules.words import byte_length
from bpfilter.rules.written import Written, write_table
from bpfilter.source import Span

if TYPE_CHECKING:
    from bpfilter.rules.columns import BulkTable

#: iptables-restore's buffer holds 10240 bytes, newline and NUL among them.
MAX_LINE_BYTES = 10238
#: Reading gives up after this many faults.
MAX_ERRORS = 50

#: Texts of so many lines are read as columns (`bulk.py`), unless that needs numpy first,
#: whose import takes as long as some thousand lines.
MANY_LINES = 500
MANY_LINES_FOR_NUMPY = 5000

# NUL, and surrogates other than those that stand for bytes which were not UTF-8.
_NOT_TEXT = "[\0\ud800-\udc7f\udd00-\udfff]"
_NO_COUNTERS = Counters()


def parse_saved(text: str | bytes, name: str, family: Family) -> Ruleset:
    """Read a ruleset; `name` stands for the file in messages.

    Raises: RuleSyntaxError or RuleError, the first fault, with the others as its notes.
    """
    ruleset, errors = read_saved(text, name, family)
    if errors:
        first, *others = errors
        for other in others:
            first.add_note(str(other))
        raise first
    return ruleset


def read_saved(
    text: str | bytes, name: str, family: Family
) -> tuple[Ruleset, tuple[SourceError, ...]]:
    """Read as `parse_saved`, giving what could be read and every fault, in order."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    tables = read_columns(text, name, family)
    if tables is not None:
        return Ruleset(family, tuple([table.table() for table in tables.values()])), ()
    reader = SavedReader(name, family)
    for number, line in enumerate(text.split("\n"), 1):
        if len(reader.errors) >= MAX_ERRORS:
            break
        try:
            reader.line(line, number)
        except SourceError as error:
            if error.span is None:
                error.span = Span(name, number, 1, len(line) + 1, line)
            if line.endswith("\r"):
                error.hint = "the file has DOS line ends"
            reader.errors.append(error)
    reader.end(text)
    return Ruleset(family, tuple(reader.tables.values())), tuple(reader.errors)


def read_columns(text: str, name: str, family: Family) -> dict[str, BulkTable] | None:
    """Read the tables of a text into columns; None if it is small, or for `read_saved` alone."""
    if text.count("\n") < (MANY_LINES if "numpy" in sys.modules else MANY_LINES_FOR_NUMPY):
        return None
    from bpfilter.rules.bulk import read_bulk

    return read_bulk(text, name, family)


def format_saved(ruleset: Ruleset, counters: bool = False) -> str:
    """Give what iptables-save (with `counters`, iptables-save -c) prints, less its comments."""
    return "".join(
        format_table(table.name, write_table(table, ruleset.family), counters)
        for table in ruleset.tables
    )


def format_table(name: str, chains: Sequence[Written], counters: bool = False) -> str:
    """Give the same of a table whose rules have been written."""
    lines = [f"*{name}", *(format_chain(each.chain) for each in chains)]
    for each in chains:
        if counters:
            lines += [f"[{packets}:{octets}] {line}" for line, packets, octets in each.counted()]
        else:
            lines += each.lines
    return "\n".join([*lines, "COMMIT\n"])


def format_chain(chain: Chain) -> str:
    """Give the `:CHAIN POLICY [packets:bytes]` line; a user chain's counters are always 0."""
    if chain.policy is None:
        return f":{chain.name} - [0:0]"
    return f":{chain.name} {chain.policy} [{chain.counters.packets}:{chain.counters.bytes}]"


@dataclass(frozen=True, slots=True)
class ChainLine:
    """`:NAME POLICY [packets:bytes]`."""

    name: str
    policy: str
    counters: Counters


class SavedLines:
    """Reads the lines of one table, with chains that rules may jump to; `name` is the file's.

    Without `counted`, the counters before rules are read, and left. `look_up` is as for
    RuleParser.
    """

    def __init__(
        self,
        name: str,
        family: Family,
        table: str = "filter",
        chains: Container[str] | None = None,
        *,
        counted: bool = True,
        look_up: Callable[[Draft], None] | None = None,
    ) -> None:
        self.name = name
        self.counted = counted
        self.parser = RuleParser(family, table, chains, look_up)

    def read(self, line: str, number: int) -> ChainLine | Command | None:
        """Read a line of a table; None for an empty one, a comment, or the other family's.

        Raises: SourceError.
        """
        if not line or line[0] == "#":
            if len(line) > MAX_LINE_BYTES:
                self.check(line, number)
            return None
        if len(line) > MAX_LINE_BYTES or "\0" in line or not line.isascii():
            self.check(line, number)
        return self._chain(line, number) if line[0] == ":" else self.command(line, number)

    def span(self, line: str, number: int, start: int = 0, end: int = 0) -> Span:
        """Give a place in a line, by default all of it."""
        return Span(self.name, number, start + 1, (end or len(line)) + 1, line)

    def check(self, line: str, number: int) -> None:
        """Refuse what is no line of text. Raises: RuleSyntaxError."""
        if byte_length(line) > MAX_LINE_BYTES:
            span = Span(self.name, number, 1, 2, line[:200])
            raise RuleSyntaxError(f"a line may have {MAX_LINE_BYTES} bytes", span)
        if line.isascii() and "\0" not in line:
            return
        found = re.search(_NOT_TEXT, line)
        if found is not None:
            span = self.span(line, number, found.start(), found.end())
            raise RuleSyntaxError("this is not text", span)

    def _chain(self, line: str, number: int) -> ChainLine:
        words = _fields(line)
        if not words:
            raise RuleSyntaxError("chain name invalid", self.span(line, number))
        if len(words) < 2:
            raise RuleSyntaxError("policy invalid", self.span(line, number))
        counters = _NO_COUNTERS
        if len(words) > 2 and words[1] != "-" and words[2] != "[0:0]":
            found = _counters_written().fullmatch(words[2])
            if found is None:
                message = f"invalid policy counters for chain '{words[0]}'"
                raise RuleSyntaxError(message, self.span(line, number))
            counters = Counters(to_count(found[1]), to_count(found[2]))
        return ChainLine(words[0], words[1], counters)

    def command(self, line: str, number: int) -> Command | None:
        """Read a command, with counters or without; None if it is for the other family."""
        counters, offset = self._rule_counters(line, number)
        return self.parser.parse_line(
            line, self.span(line, number), offset, counters if self.counted else None
        )

    def _rule_counters(self, line: str, number: int) -> tuple[Counters | None, int]:
        if line[0] != "[":
            return None, 0
        found = _counters_written().match(line)
        if found is None:
            missing = "]" if "]" not in line else ":"
            raise RuleSyntaxError(f"Bad line {number}: need {missing}", self.span(line, number))
        return Counters(to_count(found[1]), to_count(found[2])), found.end()


class SavedReader:
    """Reads a ruleset line by line; `draft` is the table that is open, `lines` reads it."""

    def __init__(self, name: str, family: Family) -> None:
        self.name = name
        self.family = family
        self.tables: dict[str, Table] = {}
        self.errors: list[SourceError] = []
        self.draft: TableDraft | None = None
        self.lines = SavedLines(name, family)
        self.skipping = False  # inside a table whose name is unknown

    def line(self, line: str, number: int) -> None:
        """Take the next line, without its newline. Raises: SourceError."""
        if self.draft is not None:
            if line == "COMMIT":
                self._commit()
            else:
                self._take(self.draft, line, number)
            return
        if len(line) > MAX_LINE_BYTES or not line.isascii() or "\0" in line:
            self.lines.check(line, number)
        if not line or line[0] == "#":
            return
        if line[0] == "*":
            self._table(line, number)
        elif not self.skipping:
            raise RuleSyntaxError(
                "no table is open here",
                self.lines.span(line, number),
                "`*filter' or so comes first",
            )
        elif line == "COMMIT":
            self.skipping = False

    def end(self, text: str) -> None:
        if self.draft is None or len(self.errors) >= MAX_ERRORS:
            return
        number = text.count("\n") + (not text.endswith("\n")) + 1
        self.errors.append(
            RuleSyntaxError(f"COMMIT expected at line {number}", Span(self.name, number))
        )

    def _table(self, line: str, number: int) -> None:
        words = _fields(line)
        if not words:
            raise RuleSyntaxError("table name invalid", self.lines.span(line, number))
        if words[0] not in TABLES:
            self.skipping = True
            start = line.index(words[0])
            span = self.lines.span(line, number, start, start + len(words[0]))
            raise RuleSyntaxError(f"unable to initialize table '{words[0]}'", span)
        self.skipping = False
        self.draft = TableDraft(words[0], self.family)
        self.lines = SavedLines(self.name, self.family, words[0], self.draft.chains)

    def _commit(self) -> None:
        self.errors += check_table(self.close())

    def close(self) -> Table:
        """Finish the open table, unchecked."""
        assert self.draft is not None
        # A second one replaces the first, but for the policies that it does not declare.
        before = self.tables.pop(self.draft.name, None)
        if before is not None:
            self.draft.keep_policies(before)
        table = self.draft.table()
        self.draft = None
        self.tables[table.name] = table
        return table

    def _take(self, draft: TableDraft, line: str, number: int) -> None:
        found = self.lines.read(line, number)
        if isinstance(found, ChainLine):
            span = self.lines.span(line, number)
            if found.name not in draft.chains or draft.chains[found.name].policy is None:
                draft.add_chain(found.name, span)
            if found.policy != "-":
                draft.set_policy(found.name, found.policy, found.counters, span)
        elif found is not None:
            draft.apply(found, self.lines.span(line, number))

    def command(self, line: str, number: int) -> Command | None:
        """Read a command of the open table; None if it is for the other family."""
        return self.lines.command(line, number)


# Compiled when first needed: mostly there are none.
@cache
def _counters_written() -> re.Pattern[str]:
    return re.compile(r"\[([0-9]+):([0-9]+)\]", re.ASCII)


# strtok(line + 1, " \t\n")
def _fields(line: str) -> list[str]:
    return [word for word in line[1:].replace("\t", " ").split(" ") if word]
