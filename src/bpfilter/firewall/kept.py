"""Findings about the running kernel, in files that are kept until the next boot.

What is in them decides how rules are compiled, so a file counts only if nobody but root, or
who runs this, can have written it, and if it is whole: a line with the CRC-32 of the rest,
then JSON. One that does not count is as none: what it said is found out again. So is what
one of two that write at once had to say.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from contextlib import suppress
from pathlib import Path

from bpfilter.errors import KernelError
from bpfilter.kernel.api import Kernel

_LARGEST_BYTES = 1 << 20


def read(path: Path) -> object:
    """Give what `write` wrote there, None if there is nothing that counts."""
    try:
        data = _read_own(path)
        check, _, body = data.partition(b"\n")
        if check != _check(body):
            return None
        found: object = json.loads(body)
    except (OSError, ValueError, RecursionError):
        return None
    return found


def write(kernel: Kernel, path: Path, found: object) -> None:
    """Keep something that JSON can hold; on a full disk it is not kept."""
    body = json.dumps(found).encode()
    with suppress(KernelError):
        kernel.make_directory(path.parent)
        kernel.replace_file(path, _check(body) + b"\n" + body)


def _check(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _read_own(path: Path) -> bytes:
    # O_NONBLOCK: opening anything but a file must not wait.
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(number, "rb") as file:
        about = os.fstat(number)
        writable = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(about.st_mode) or writable or about.st_uid not in (0, os.geteuid()):
            raise ValueError("not a file of our own")
        return file.read(_LARGEST_BYTES)
