"""Text a person wrote, places in it, and how a fault is shown to them."""

from __future__ import annotations

from bpfilter.dataclass import dataclass

#: A text of rules has fewer: a million rules fit; /dev/zero does not.
LARGEST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line: `column` and `end` count characters from 1, `end` exclusive."""

    name: str
    line: int
    column: int = 1
    end: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}"

    def caret(self, width: int = 120) -> str:
        """Give the line and a caret line below it; long lines are cut around the fault."""
        start = max(self.column - 1, 0)
        stop = max(self.end - 1, start + 1)
        shift = 0
        text = self.text
        if len(text) > width:
            shift = max(0, min(start - width // 2, len(text) - width))
            text = text[shift : shift + width]
        text = "".join(c if c.isprintable() or c == "\t" else "�" for c in text)
        lead = "".join("\t" if c == "\t" else " " for c in text[: start - shift])
        marks = "^" * max(1, min(stop - start, len(text) - (start - shift)))
        return f"    {text}\n    {lead}{marks}"
