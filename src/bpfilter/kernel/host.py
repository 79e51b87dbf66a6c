"""Facts of this machine, read from /proc and /sys; no privilege needed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from bpfilter.errors import AbiError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h


def boot_id() -> str:
    """Give a UUID that every boot has its own of."""
    return _BOOT_ID.read_text().strip()


def parse_cpu_list(text: str) -> frozenset[int]:
    """Give the CPUs in a list such as `0-3,5`. Raises: AbiError if it is none."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if found is None:
            raise AbiError(f"not a list of CPUs: {text.strip()!r}")
        first = int(found[1])
        numbers.update(range(first, int(found[2] or first) + 1))
    return frozenset(numbers)


def possible_cpus() -> frozenset[int]:
    """Give the CPUs this kernel may ever have online; numbers may be left out."""
    return parse_cpu_list(Path("/sys/devices/system/cpu/possible").read_text("utf-8"))


def clock_hz() -> int:
    """Give CONFIG_HZ: the resolution of the coarse clocks is one tick (TICK_NSEC)."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


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


def parent_of(pid: int) -> int:
    """Give the parent's process id, 0 if the process has none or is gone."""
    try:
        # The command in parentheses may hold anything; the fields come after the last one.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def mount_type(mountinfo: str, path: Path, device: int) -> str | None:
    """Give the type of the file system mounted exactly at `path`, None if none is.

    `mountinfo` is /proc/PID/mountinfo: fields by spaces, octal escapes in paths, and the
    type right after a lone `-` (Documentation/filesystems/proc.rst). Mounts hidden by later
    ones are in it too: `device` is what stat(2) says of the path.
    """
    on_top = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and fields[2] == on_top and _unescaped(fields[4]) == str(path):
            return after.split(" ", 1)[0]
    return None


def mounted_namespaces(mountinfo: str) -> Iterator[int]:
    """Give the inodes of the network namespaces that are mounted somewhere, as `ip netns` does."""
    for line in mountinfo.splitlines():
        if found := re.match(r"\S+ \S+ \S+ net:\[(\d+)\] ", line):
            yield int(found[1])


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
