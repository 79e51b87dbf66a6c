"""Rules of all tables in files, and back from there: what outlives a reboot.

rules in force → iptables-save's text → /etc/bpfilter/rules.v4, rules.v6 → in force again
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bpfilter.dataclass import dataclass
from bpfilter.errors import Error, ToolError
from bpfilter.firewall.live import Firewall
from bpfilter.iptables.adopt import settle
from bpfilter.iptables.found import KINDS, filter_rules
from bpfilter.iptables.home import TABLE, give
from bpfilter.iptables.kernel_tool import KernelTool
from bpfilter.iptables.lock import xtables_lock
from bpfilter.rules.model import Family

DIRECTORY = Path("/etc/bpfilter")
NAMES = {Family.IPV4: "rules.v4", Family.IPV6: "rules.v6"}

#: Nothing passes but what stays on this machine.
_CLOSED = f"""\
*{TABLE}
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
COMMIT
"""


class NotSaved(Error):
    """A file cannot be written."""


def save(paths: Mapping[Family, Path], *, counters: bool, wait_s: float) -> None:
    """Write the rules of each family to its file: all of them, or on any error none.

    Raises: Error; ToolError if the filter rules in force are not ours.
    """
    from bpfilter.iptables.save import saved_text

    with xtables_lock(wait_s):
        for family in paths:
            _check_ours(family)
        texts = {path: saved_text(family, counters) for family, path in paths.items()}
    _write(texts)


# Other rules would not be in the file, and so not in force after the next start.
def _check_ours(family: Family) -> None:
    firewall = Firewall()
    if firewall.delegated(family) or firewall.generation(family):
        return
    for kind in KINDS:
        if filter_rules(firewall.kernel, family, kind) is not None:
            raise ToolError(
                f"the filter rules in force are {family.command}-{kind}'s, not bpfilter's; "
                "'bpfilter adopt' takes them over first"
            )


def _write(texts: Mapping[Path, bytes]) -> None:
    made: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, text in texts.items():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            made.append((temporary, path))
            _write_through(temporary, text)
        for temporary, path in made:
            os.replace(temporary, path)
            _sync(path.parent)
    except OSError as error:
        raise NotSaved(f"{path}: {error.strerror}") from error
    finally:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)


def _write_through(path: Path, data: bytes) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(number, "wb") as file:
        os.fchmod(number, 0o600)
        file.write(data)
        file.flush()
        os.fsync(number)


def _sync(directory: Path) -> None:
    with suppress(OSError):  # not every file system can
        number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@dataclass(frozen=True, slots=True)
class Kept:
    """A saved text; `name` is its file."""

    family: Family
    name: str
    text: bytes

    @property
    def tables(self) -> list[str]:
        """The tables in it, the filter table first: it matters most if others fail."""
        lines = (line.split() for line in self.text.split(b"\n") if line.startswith(b"*"))
        names = [words[0][1:].decode("utf-8", "surrogateescape") for words in lines]
        return sorted(dict.fromkeys(names), key=lambda name: name != TABLE)

    @property
    def has_counters(self) -> bool:
        return b"\n[" in self.text


def restore(kept: Kept, wait_s: float) -> int:
    """Put a saved text in force, each of its tables as a whole; gives the exit status.

    What is wrong is told, as iptables-restore does, and changes nothing of that table. Raises:
    Error.
    """
    from bpfilter.iptables.restore import How, restore_text

    how = How(counters=kept.has_counters)
    test = How(counters=kept.has_counters, test=True)
    status = restore_text(kept.family, kept.text, test)
    if status:
        return status
    for name in kept.tables:
        one = How(counters=how.counters, only=name)
        status = restore_text(kept.family, kept.text, one, wait_s) or status
    return status


def close(family: Family) -> str:
    """Let nothing of a family pass but on loopback; gives by whom.

    Raises: the first Error, if neither we nor the kernel's own iptables can.
    """
    firewall = Firewall()
    try:
        firewall.apply_text(_CLOSED, family, source="restore --boot (closed)")
        with suppress(Error):
            settle(firewall, family)
    except Error as error:
        for kind in KINDS:
            with suppress(Error):
                give(KernelTool(kind), family, _CLOSED.encode())
                return f"{family.command}-{kind}"
        raise error from None
    return "bpfilter"
