"""How every program of ours begins and ends, whatever it does in between."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import NoReturn


def begin() -> None:
    """Prepare this process to be a command."""
    # A command is over before garbage matters; looking for it among a large ruleset's
    # objects would take half of the time. Nor is it looked for at the end.
    gc.disable()
    sys.excepthook = _own_fault
    _open_closed()
    # Rules go out byte for byte as they came in, whatever the locale; and all of them: the
    # stream that PYTHONUNBUFFERED asks for loses what a pipe does not take at once.
    sys.stdout = open(  # noqa: SIM115 - until the end
        1, "w", encoding="utf-8", errors="surrogateescape", closefd=False
    )


# Whoever started us may have closed them: what is opened next would be written to.
def _open_closed() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def end(status: int) -> NoReturn:
    """Leave with an exit status."""
    gc.freeze()
    sys.exit(status)


def no_more_output() -> None:
    """Go on without output: whoever read it has left, or nothing more can be written."""
    with suppress(OSError):  # of a stream that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _own_fault(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if os.environ.get("BPFILTER_TRACEBACK"):
        sys.__excepthook__(kind, error, traceback)
        return
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    at = f" at {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else ""
    sys.stderr.write(
        f"bpfilter: a bug in bpfilter: {kind.__name__}: {error}{at}; please report it with what "
        "it prints under BPFILTER_TRACEBACK=1\n"
    )
