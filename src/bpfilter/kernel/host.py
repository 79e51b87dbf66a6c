"""Facts of this machine, read from /proc, /sys and /boot; no privilege needed."""

from __future__ import annotations

import gzip
import os
import platform
import re
from pathlib import Path

from bpfilter.errors import AbiError


def parse_cpu_list(text: str) -> int:
    """Count the CPUs in a list such as `0-3,5`. Raises: AbiError if it is none."""
    count = 0
    for part in text.strip().split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if found is None:
            raise AbiError(f"not a list of CPUs: {text.strip()!r}")
        first = int(found[1])
        count += int(found[2] or first) - first + 1
    return count


def possible_cpus() -> int:
    """Count the CPUs this kernel may ever have online: num_possible_cpus()."""
    return parse_cpu_list(Path("/sys/devices/system/cpu/possible").read_text("ascii"))


def kernel_config() -> bytes | None:
    """Give the kernel's build configuration, None where neither /proc nor /boot has it."""
    try:
        return gzip.decompress(Path("/proc/config.gz").read_bytes())
    except (OSError, EOFError, gzip.BadGzipFile):
        pass
    try:
        return Path(f"/boot/config-{platform.release()}").read_bytes()
    except OSError:
        return None


def config_value(config: bytes, name: str) -> str | None:
    """Find `CONFIG_name=value`; quotes around a value are dropped."""
    pattern = rb"^CONFIG_%s=(.*)$" % re.escape(name.encode())
    found = re.search(pattern, config, re.MULTILINE)
    return found[1].decode("utf-8", "replace").strip('"') if found else None


def is_same_namespace(kind: str, pid: int | str) -> bool:
    """Whether this thread shares a namespace (`net`, `mnt`, …) with a process.

    True as well if /proc does not let us look: then there is nothing we could reach.
    """
    try:
        ours = os.stat(f"/proc/thread-self/ns/{kind}")
        theirs = os.stat(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return True
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def mount_type(mountinfo: str, path: Path) -> str | None:
    """Give the type of the file system mounted exactly at `path`, None if none is.

    `mountinfo` is /proc/PID/mountinfo: fields by spaces, octal escapes in paths, and the
    type right after a lone `-` (Documentation/filesystems/proc.rst).
    """
    found = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and _unescaped(fields[4]) == str(path):
            found = after.split(" ", 1)[0]  # the last one is on top
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
