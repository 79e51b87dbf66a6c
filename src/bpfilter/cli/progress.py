"""A bar on the terminal while a large ruleset is put in force."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bpfilter.cli.common import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: The steps of putting rules in force, in their order.
STEPS = ("reading", "compiling", "loading", "switching")

#: Seconds from the start of the command to the bar: what is quicker needs none.
DELAY_S = 1.0
_STARTED = time.monotonic()


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Give what is to be told each step; without a terminal nobody sees it."""
    if not is_terminal(sys.stderr):
        yield lambda _: None
        return
    bar = _Bar(what)
    try:
        yield bar.step
    finally:
        bar.close()


class _Bar:
    """Shown by a timer's thread, as the command is at work; rich takes a while to import."""

    def __init__(self, what: str) -> None:
        import threading

        self.what = what
        self.at = STEPS[0]
        self.lock = threading.Lock()
        self.shown: Progress | None = None
        self.task: TaskID | None = None
        self.closed = False
        self.timer = threading.Timer(max(0, _STARTED + DELAY_S - time.monotonic()), self._show)
        self.timer.daemon = True
        self.timer.start()

    def step(self, name: str) -> None:
        with self.lock:
            self.at = name
            self._update()

    def close(self) -> None:
        self.timer.cancel()
        with self.lock:
            self.closed = True
            if self.shown is not None:
                self.shown.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        with self.lock:
            if self.closed:
                return
            columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
            self.shown = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self.task = self.shown.add_task(self.what, total=len(STEPS))
            self._update()
            self.shown.start()

    def _update(self) -> None:
        if self.shown is not None and self.task is not None:
            done = STEPS.index(self.at)
            text = f"{self.at} {self.what}"
            self.shown.update(self.task, description=text, completed=done)
