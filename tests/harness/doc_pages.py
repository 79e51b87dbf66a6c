"""The documentation as data: its pages, code blocks, commands and links."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGES.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = ROOT / "docs" / "examples"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)]+)\)")
_INLINE = re.compile(r"`([^`\n]+)`")
#: Output that is left out of a page.
ELISION = "[…]"


@dataclass(frozen=True, slots=True)
class Session:
    """A command of a `console` block, and what the page says it prints."""

    command: str
    output: str


def blocks(page: Path, language: str) -> list[str]:
    """Give the fenced blocks of a language."""
    return [text for name, text in _FENCE.findall(page.read_text("utf-8")) if name == language]


def sessions(page: Path) -> list[Session]:
    """Give the commands of all `console` blocks: lines after `# ` (root) or `$ ` (anybody)."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^(?=[#$] )", block, flags=re.M):
            if part:
                command, _, output = part.partition("\n")
                found.append(Session(command[2:], output))
    return found


def code_lines(page: Path) -> Iterator[str]:
    """Give each line of code, wherever it stands: fenced, indented or inline."""
    text = page.read_text("utf-8")
    for _, block in _FENCE.findall(text):
        yield from block.splitlines()
    rest = _FENCE.sub("", text)
    for line in rest.splitlines():
        if line.startswith("    "):
            yield textwrap.dedent(line)
        else:
            yield from _INLINE.findall(line)


def links(page: Path) -> list[str]:
    return _LINK.findall(_FENCE.sub("", page.read_text("utf-8")))


def matches(expected: str, printed: str) -> bool:
    """Tell whether a page's output is what was printed, but for numbers, dates and widths."""
    parts = [re.escape(_plain(part)) for part in expected.split(f"{ELISION}\n")]
    return re.fullmatch(".*".join(parts), _plain(printed), re.S) is not None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", text))
