"""`apply --confirm`: roll back unless the administrator, still connected, says so in time.

Before the new ruleset is put in force, a guardian process of its own session is started
and a pending file written. Taking the file away confirms. If it is still there at the
deadline, the guardian puts the ruleset before back in force, counters included, even if
the terminal, the connection or the command that started it is long gone.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpfilter.errors import BusyError, Error
from bpfilter.rules.model import Family, Ruleset

if TYPE_CHECKING:
    from bpfilter.firewall.live import Firewall

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Pending:
    """A rollback that waits; `deadline` is in seconds of time.monotonic()."""

    path: Path
    family: Family
    deadline: float
    guardian: int

    def confirm(self) -> bool:
        """Keep the new ruleset; False if it was too late."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def reject(self) -> None:
        """Have the guardian roll back now, and wait until it has."""
        try:
            os.kill(self.guardian, signal.SIGUSR1)
        except ProcessLookupError:
            return
        self.wait()

    def wait(self) -> None:
        """Wait until the guardian has rolled back, or somebody has confirmed."""
        while self.path.exists() and _alive(self.guardian):
            time.sleep(POLL_S)

    @property
    def is_open(self) -> bool:
        return self.path.exists()


def start(firewall: Firewall, family: Family, seconds: float) -> Pending:
    """Start the guardian over what is in force now; call this before applying.

    Raises: BusyError if another rollback of this family is pending.
    """
    directory = firewall.state_directory()
    path = directory / f"pending-{family.command}"
    if find(directory, family) is not None:
        raise BusyError(
            f"an 'apply --confirm' of {family.command} rules still waits; "
            "run 'bpfilter confirm', or let it roll back"
        )
    table = firewall.table(family)
    previous = None if table is None else Ruleset(family, (table,))
    deadline = time.monotonic() + seconds
    guardian = _fork_guardian(firewall, family, previous, path, deadline)
    data = {"guardian": guardian, "deadline": deadline}
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(data))
    os.replace(temporary, path)
    return Pending(path, family, deadline, guardian)


def find(directory: Path, family: Family) -> Pending | None:
    """Give the rollback pending for a family; one whose guardian died is none."""
    path = directory / f"pending-{family.command}"
    try:
        data = json.loads(path.read_text())
        pending = Pending(path, family, float(data["deadline"]), int(data["guardian"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return pending if _alive(pending.guardian) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fork_guardian(
    firewall: Firewall, family: Family, previous: Ruleset | None, path: Path, deadline: float
) -> int:
    # Forked twice, so that it is nobody's child and outlives the terminal's session.
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.setsid()
            guardian = os.fork()
            if guardian:
                os.write(writer, str(guardian).encode())
                status = 0
            else:
                os.close(writer)
                _guard(firewall, family, previous, path, deadline)
                status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        pid = int(pipe.read())
    os.waitpid(child, 0)
    return pid


def _guard(
    firewall: Firewall, family: Family, previous: Ruleset | None, path: Path, deadline: float
) -> None:
    rejected = False

    def reject(*_: object) -> None:
        nonlocal rejected
        rejected = True

    signal.signal(signal.SIGUSR1, reject)
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    appeared = False
    while not rejected and time.monotonic() < deadline:
        if path.exists():
            appeared = True
        elif appeared:
            return
        time.sleep(POLL_S)
    if appeared and not path.exists():
        return
    for _ in range(10):
        try:
            _roll_back(firewall, family, previous)
            break
        except Error:
            time.sleep(1)
    path.unlink(missing_ok=True)


def _roll_back(firewall: Firewall, family: Family, previous: Ruleset | None) -> None:
    if previous is None:
        firewall.clear(family)
    else:
        firewall.apply(previous, source="rolled back: not confirmed", counters=True)
