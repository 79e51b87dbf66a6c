"""Everything that was made is taken down again, whatever ends the measurement."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.harness.engines import remove_leftovers

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def tidying() -> Iterator[None]:
    """Turn signals into KeyboardInterrupt, and leave no namespace of this process behind."""
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    remove_leftovers()  # of runs that were killed
    try:
        yield
    finally:
        _ignore_signals()
        remove_leftovers(os.getpid())
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    _ignore_signals()  # what follows is tidying up
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
