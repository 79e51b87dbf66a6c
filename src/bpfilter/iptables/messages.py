"""Errors as iptables words them, and its exit status for each.

    0  done
    1  libiptc or the kernel refused, or a check (`-C`) found nothing
    2  the command line or a line of rules is wrong (PARAMETER_PROBLEM)
    3  the kernel cannot (VERSION_PROBLEM)
    4  the lock is held, or a privilege is missing (RESOURCE_PROBLEM)

These are enum xtables_exittype of include/xtables.h, and iptables.c's own 1.
"""

from __future__ import annotations

import sys

from bpfilter.errors import (
    BusyError,
    Error,
    KernelError,
    RefusedError,
    SourceError,
    TableError,
    UnsupportedError,
)

#: Whom we are compatible with, and how `-V` and messages say who we are.
VERSION = "1.8.11"
KIND = "bpf"

OTHER, PARAMETER, KERNEL, RESOURCE = 1, 2, 3, 4

# Of those, iptables points to the kernel's log: they stand for EINVAL.
_EINVAL = (TableError.INVALID, "Bad policy name")


def version_line(program: str) -> str:
    """Give what `-V` prints, and what messages begin with."""
    return f"{program} v{VERSION} ({KIND})"


def status_of(error: Error) -> int:
    """Give the exit status that iptables has for an error."""
    status = getattr(error, "status", None)
    if isinstance(status, int):  # the kernel's own iptables has spoken
        return status
    match error:
        case TableError():
            return OTHER
        case SourceError():
            return PARAMETER
        case UnsupportedError():
            return KERNEL
        case BusyError() | KernelError():
            return RESOURCE
    return error.exit_code


def tell(error: Error, program: str, line: int = 0) -> int:
    """Print an error, of a line of iptables-restore if one is given; give the exit status."""
    for text in _lines(error, program, line):
        print(text, file=sys.stderr)
    return status_of(error)


def try_help(program: str) -> str:
    """Give the line that ends messages about a command line."""
    return f"Try `{program} -h' or '{program} --help' for more information."


def _lines(error: Error, program: str, line: int) -> list[str]:
    if isinstance(error, TableError):
        if line and error.message.startswith("Can't set policy"):
            told = error.message.replace(f": {error.reason}", f" line {line}: {error.reason}")
            return [f"{version_line(program)}: {told}"]
        if line:
            return [f"{program}: line {line} failed", *_detail(error, program)]
        return [f"{program}: {error.reason}.{_log(error)}", *_detail(error, program)]
    if not isinstance(error, SourceError):
        told = str(error)
        # What the kernel's own iptables said begins as it should.
        begins = hasattr(error, "status") or isinstance(error, BusyError)
        return [told if begins else f"{version_line(program)}: {told}"]
    lines = [_sentence(error, program)]
    if line:
        lines.append(f"Error occurred at line: {line}")
    return [*lines, try_help(program)]


def _sentence(error: SourceError, program: str) -> str:
    message = error.message
    if message.startswith("Bad argument"):
        return message
    if message.startswith("Couldn't load"):
        return f"{version_line(program)}: {message}:No such file or directory\n"
    hint = f" ({error.hint})" if error.hint else ""
    if isinstance(error, RefusedError) and error.span is not None and error.span.text:
        hint += f": {error.span.text}"
    return f"{version_line(program)}: {message}{hint}"


def _log(error: TableError) -> str:
    return " Run `dmesg' for more information." if error.reason in _EINVAL else ""


# What the kernel would have written to its log.
def _detail(error: TableError, program: str) -> list[str]:
    if error.reason not in (TableError.INVALID, TableError.LOOP) or error.message == error.reason:
        return []
    return [f"{program}: {error.message}"]
