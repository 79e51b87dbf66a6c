"""Every error this package raises, in one tree.

    Error                          exit 1, EINVAL
    ├─ SourceError(span)           exit 2          text a person wrote is wrong
    │  ├─ RuleSyntaxError                          it cannot be read as rules
    │  └─ RuleError                                it reads, but means nothing iptables allows
    │     └─ TableError(reason)                   libiptc or the kernel would refuse it
    ├─ RefusedError(span)          exit 2, ENOPROTOOPT   valid for iptables, not enforceable here
    ├─ ConfigError                 exit 2          /etc/bpfilter.conf is wrong
    ├─ ToolError                   exit 1          the kernel's own iptables fails, or is missing
    ├─ CaptureError(offset)        exit 2          a file of packets cannot be read
    ├─ AbiError(struct, offset)    EINVAL          malformed bytes from or for the kernel
    ├─ BuildError(origin)                          a limit of the instruction set, such as stack
    ├─ InterpError(index)                          a program went wrong in the interpreter
    ├─ UnsupportedError(feature)   exit 3, EOPNOTSUPP    this kernel conclusively cannot
    ├─ BusyError                   exit 4, EAGAIN  lock held, or the ruleset changed underneath
    ├─ StateError                  exit 1, EINVAL  pins or state file are not what we left there
    └─ KernelError(op, errno)      also an OSError
       ├─ VerifierError(log)                       the kernel refused a program
       └─ RestrictedError(setting)                 a privilege or setting stands in the way

Exit numbers are iptables' own: 1 other problem, 2 parameter problem, 3 version
problem, 4 resource problem (include/xtables.h of iptables, enum xtables_exittype).
Our own bugs are AssertionErrors, never one of these.
"""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bpfilter.source import Span


class Error(Exception):
    """Any failure this package reports; `str(error)` is one sentence for a person."""

    exit_code: ClassVar[int] = 1
    errno_for_caller: ClassVar[int] = _errno.EINVAL


class SourceError(Error):
    """A fault in text a person wrote; `span` says where, when it is known."""

    exit_code = 2

    def __init__(self, message: str, span: Span | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.span}: " if self.span is not None else ""
        return f"{where}{self.message}" + (f" ({self.hint})" if self.hint else "")


class RuleSyntaxError(SourceError):
    """The text cannot be read as rules."""


class RuleError(SourceError):
    """The text reads, but iptables gives it no meaning: wrong protocol, unknown chain, a loop."""


class TableError(RuleError):
    """What iptables has no word of its own for, but libiptc or the kernel would refuse.

    `reason` is what iptables prints of it then (iptc_strerror, libiptc/libiptc.c): it exits with
    1 for these, and with 2 for what it refuses itself.
    """

    #: What the kernel says of a rule or a table that it does not take, by its errno.
    INVALID: ClassVar[str] = "Invalid argument"
    LOOP: ClassVar[str] = "Too many levels of symbolic links"

    def __init__(
        self, reason: str, message: str = "", span: Span | None = None, hint: str = ""
    ) -> None:
        super().__init__(message or reason, span, hint)
        self.reason = reason


class RefusedError(SourceError):
    """iptables would take this rule; it cannot be enforced here exactly as written."""

    errno_for_caller = _errno.ENOPROTOOPT


class ConfigError(Error):
    """A setting is wrong; the message names file and line."""

    exit_code = 2


class ToolError(Error):
    """The kernel's own iptables cannot be run, or did not do what it was asked for."""


class CaptureError(Error):
    """A file of packets which is none, or is wrong at byte `offset`."""

    exit_code = 2

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message}, at byte {offset}")
        self.offset = offset


class AbiError(Error):
    """Bytes which do not have the layout they should."""

    def __init__(self, message: str, struct: str = "", offset: int = 0) -> None:
        where = f"{struct}+{offset}: " if struct else ""
        super().__init__(f"{where}{message}")
        self.struct = struct
        self.offset = offset


class BuildError(Error):
    """Instructions that cannot be expressed; `origin` is what they were made for."""

    def __init__(self, message: str, origin: object = None) -> None:
        super().__init__(message if origin is None else f"{message} (for {origin})")
        self.origin = origin


class InterpError(Error):
    """A program did in the interpreter what no verified program does: a read of nowhere, no end.

    `index` is the instruction's, or -1; `origin` is what it was made for.
    """

    def __init__(self, message: str, index: int = -1, origin: object = None) -> None:
        where = f"instruction {index}: " if index >= 0 else ""
        super().__init__(where + message + ("" if origin is None else f" (for {origin})"))
        self.message = message
        self.index = index
        self.origin = origin


class UnsupportedError(Error):
    """This kernel conclusively lacks something needed."""

    exit_code = 3
    errno_for_caller = _errno.EOPNOTSUPP

    def __init__(self, feature: str, minimum: str = "", advice: str = "") -> None:
        since = f" (it came with Linux {minimum})" if minimum else ""
        super().__init__(
            f"this kernel has no {feature}{since}" + (f"; {advice}" if advice else "")
        )
        self.feature = feature
        self.minimum = minimum


class BusyError(Error):
    """Somebody else holds the lock, or changed the ruleset underneath."""

    exit_code = 4
    errno_for_caller = _errno.EAGAIN


class StateError(Error):
    """Pins or the state file are not as this program leaves them."""


class KernelError(Error, OSError):
    """A system call failed; `op` is what it was for, `errno` what the kernel said."""

    def __init__(self, op: str, errno: int, advice: str = "") -> None:
        OSError.__init__(self, errno, os.strerror(errno))
        self.op = op
        self.advice = advice

    def __str__(self) -> str:
        text = f"{self.op}: {os.strerror(self.errno or 0)}"
        return f"{text}; {self.advice}" if self.advice else text


class VerifierError(KernelError):
    """The kernel refused a program; `log` is all it said, `str()` one line of it."""

    def __init__(
        self, op: str, errno: int, summary: str, log: str = "", origin: object = None
    ) -> None:
        super().__init__(op, errno)
        self.summary = summary
        self.log = log
        self.origin = origin

    def __str__(self) -> str:
        at = f" at {self.origin}" if self.origin is not None else ""
        return f"{self.op}: the kernel refused the program{at}: {self.summary}"


class RestrictedError(KernelError):
    """A privilege or a setting of this machine stands in the way; `setting` names it."""

    def __init__(self, op: str, errno: int, setting: str, advice: str) -> None:
        super().__init__(op, errno, advice)
        self.setting = setting
