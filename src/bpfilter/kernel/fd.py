"""A file descriptor with an owner."""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import Self


class Fd:
    """Own one descriptor: it is closed once, by `close` or at the end of a `with` block."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        assert number >= 0, number
        self._number = number

    @property
    def number(self) -> int:
        """The descriptor; using it after `close` is a bug."""
        assert self._number >= 0, "descriptor used after close"
        return self._number

    @property
    def is_open(self) -> bool:
        return self._number >= 0

    def fileno(self) -> int:
        return self.number

    def duplicate(self) -> Fd:
        """Give another descriptor of the same object."""
        return Fd(os.dup(self.number))

    def disown(self) -> int:
        """Give the number away: whoever takes it closes it."""
        number = self.number
        self._number = -1
        return number

    def close(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._number >= 0:
            warnings.warn(f"descriptor {self._number} was never closed", ResourceWarning, 2)
            self.close()

    def __repr__(self) -> str:
        return f"Fd({self._number if self.is_open else 'closed'})"
