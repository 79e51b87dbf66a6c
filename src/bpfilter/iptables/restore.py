"""`iptables-bpf-restore`: rules from a text, table by table, each in force as a whole.

    text → Sections, one for each table → filter: ours → other tables: the kernel's own tool

A section keeps its place in the text, empty lines standing for what is before it, so that
whoever finds a fault names the line that it is in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, RuleError, SourceError, ToolError
from bpfilter.iptables.home import TABLE, FilterTable
from bpfilter.iptables.kernel_tool import KernelTool, find_tool
from bpfilter.iptables.lock import xtables_lock
from bpfilter.iptables.messages import OTHER, PARAMETER, tell, try_help, version_line
from bpfilter.iptables.words import Found, Options, UsageError
from bpfilter.rules.model import Family
from bpfilter.source import LARGEST_BYTES

if TYPE_CHECKING:
    from bpfilter.firewall.revision import LinesDraft

_OPTIONS = {
    "counters": ("c", 0),
    "verbose": ("v", 0),
    "version": ("V", 0),
    "test": ("t", 0),
    "help": ("h", 0),
    "noflush": ("n", 0),
    "modprobe": ("M", 1),
    "table": ("T", 1),
    "wait": ("w", 2),
    "wait-interval": ("W", 2),
}


@dataclass(frozen=True, slots=True)
class How:
    """How tables are put in force: as iptables-restore's options of these names say."""

    counters: bool = False
    noflush: bool = False
    test: bool = False
    verbose: bool = False
    only: str = ""

    def words(self) -> list[str]:
        """Give the options for the kernel's own tool."""
        letters = {"-c": self.counters, "-n": self.noflush, "-t": self.test, "-v": self.verbose}
        return [letter for letter, wanted in letters.items() if wanted]


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one table: from line `first`, its `*NAME`, to its COMMIT.

    One that is not `whole` ends with the text, and has none.
    """

    name: str
    lines: list[bytes]
    first: int
    whole: bool = True

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    def body(self) -> list[bytes]:
        """Give the lines between the first and COMMIT."""
        return self.lines[1:-1] if self.whole else self.lines[1:]

    def text(self) -> bytes:
        """Give it at its place in an otherwise empty text."""
        return b"\n" * (self.first - 1) + b"\n".join(self.lines) + b"\n"


class LineError(Error):
    """A line that cannot be what it is where it is."""


def run(family: Family, words: list[str]) -> int:
    """Do what a command line says. Raises: Error."""
    program = f"{family.command}-restore"
    found = Options(_OPTIONS, program, f"Try `{program} -h' for more information.").read(words)
    if "V" in found:
        print(version_line(program))
        return 0
    if "h" in found:
        from bpfilter.iptables.usage import restore_usage

        sys.stderr.write(restore_usage(program))
        return 0
    wait_s = _wait(found)
    if len(found.others) > 1:
        raise UsageError("Unknown arguments found on commandline")
    how = How("c" in found, "n" in found, "t" in found, "v" in found, found.values.get("T", ""))
    text = _read(found.others[0] if found.others else "")
    return restore_text(family, text, how, wait_s)


def _wait(found: Found) -> float | None:
    value = found.values.get("w")
    if "W" in found:
        print("Ignoring deprecated --wait-interval option.", file=sys.stderr)
        if value is None:
            raise UsageError("Option --wait-interval requires option --wait")
    if value is None:
        return 0.0
    if value and not value.isdecimal():
        raise UsageError("wait seconds not numeric")
    return float(value) if value else None


def _read(path: str) -> bytes:
    try:
        if path:
            with open(path, "rb") as file:
                text = file.read(LARGEST_BYTES + 1)
        else:
            text = b"" if sys.stdin is None else sys.stdin.buffer.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"Can't open {path}: {error.strerror}") from error
    if len(text) > LARGEST_BYTES:
        raise UsageError(f"more than {LARGEST_BYTES >> 20} MB are no rules")
    return text


def restore_text(family: Family, text: bytes, how: How, wait_s: float | None = None) -> int:
    """Put the tables of a text in force, one after the other; give the exit status.

    What is wrong is told, and ends it there: tables before that are in force.
    """
    if not text:
        return 0
    restoring = _Restoring(family, how)
    with nullcontext() if how.test else xtables_lock(wait_s):
        try:
            for part in _sections(text):
                if isinstance(part, bytes):
                    if how.verbose:
                        sys.stdout.write(part.decode("utf-8", "surrogateescape"))
                elif how.only in ("", part.name):
                    status = restoring.section(part)
                    if status != 0:
                        return status
        except LineError as error:
            print(f"{family.command}-restore: {error}", file=sys.stderr)
            return OTHER
    return 0


# Sections, and the comments between them.
def _sections(text: bytes) -> Iterator[Section | bytes]:
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    name, first = "", 0
    for number, line in enumerate(lines, 1):
        if name:
            if line == b"COMMIT":
                yield Section(name, lines[first - 1 : number], first)
                name = ""
        elif line.startswith(b"*"):
            words = line[1:].split()
            if not words:
                raise LineError(f"line {number} table name invalid")
            name, first = words[0].decode("utf-8", "surrogateescape"), number
        elif line.startswith(b"#"):
            yield line + b"\n"
        elif line:
            raise LineError(f"line {number} failed")
    if name:
        yield Section(name, lines[first - 1 :], first, whole=False)
        raise LineError(f"COMMIT expected at line {len(lines) + 1}")


class _Restoring:
    def __init__(self, family: Family, how: How) -> None:
        self.family = family
        self.how = how
        self.program = f"{family.command}-restore"
        self.table = FilterTable(family)

    def section(self, section: Section) -> int:
        """Put one table in force; give the exit status."""
        if not section.whole:
            return self._unfinished(section)
        if section.name != TABLE:
            return self._leave(section, find_tool(self.table.config))
        owner = self.table.owner()
        if owner is not None and not self.how.test:
            owner = self.table.settle(owner)
        if owner is not None and (self.how.noflush or self.how.test):
            status = self._leave(section, owner)
            if status == 0 and not self.how.test:
                self.table.retake(owner)
            return status
        try:
            self._ours(section, owner)
        except SourceError as error:
            return tell(error, self.program, self._line(error, section))
        return 0

    # What is wrong with its lines is said before that it does not end.
    def _unfinished(self, section: Section) -> int:
        if section.name != TABLE:
            return 0
        try:
            self._look_at(section)
        except SourceError as error:
            return tell(error, self.program, self._line(error, section))
        return 0

    # A fault without a place is one of the whole table.
    def _line(self, error: SourceError, section: Section) -> int:
        if error.span is not None and error.span.name == self.program:
            return error.span.line
        return section.last

    def _ours(self, section: Section, owner: KernelTool | None) -> None:
        if self.how.test:
            self._test(section)
        elif self.how.noflush or self.how.verbose:
            self._by_line(section)
        else:
            from bpfilter.firewall.given import GivenText

            given = GivenText(section.text(), self.program, self.family)
            try:
                self.table.restore(given, counters=self.how.counters, owner=owner)
            except RuleError as error:
                if not error.message.startswith("host/network"):
                    raise
                self._by_line(section)  # which looks up names

    def _by_line(self, section: Section) -> None:
        from bpfilter.iptables.lines import take_lines

        tell: Callable[[str], object] = sys.stdout.write

        def change(draft: LinesDraft) -> None:
            nonlocal tell
            take_lines(draft, section, self.how, self.program, tell)
            tell = len  # once, though a table that becomes the kernel's is changed anew

        self.table.revise(change, self.program)

    def _look_at(self, section: Section) -> None:
        from bpfilter.iptables.lines import take_lines

        draft = self.table.firewall.draft(self.family)
        take_lines(draft, section, self.how, self.program, sys.stdout.write)

    def _test(self, section: Section) -> None:
        if self.how.noflush or self.how.verbose:
            self._look_at(section)
            return
        from bpfilter.firewall.given import GivenText

        _ = GivenText(section.text(), self.program, self.family).readable

    def _leave(self, section: Section, tool: KernelTool | None) -> int:
        if tool is None:
            error = ToolError(f"{self.program}: unable to initialize table '{section.name}'")
            print(f"{version_line(self.program)}: {error}", file=sys.stderr)
            print(f"Error occurred at line: {section.first}", file=sys.stderr)
            print(try_help(self.program), file=sys.stderr)
            return PARAMETER
        words = self.how.words()
        status, output, messages = tool.run(self.family, "restore", words, section.text())
        sys.stdout.flush()
        sys.stdout.buffer.write(output)
        sys.stderr.write(messages.decode("utf-8", "replace"))
        return status
