"""`apply --confirm`: roll back unless the administrator, still connected, says so in time.

Before the new ruleset is put in force, a guardian process of its own session is started,
which makes a pending file and keeps it locked. Taking the file away confirms. If it is
still there at the deadline, the guardian takes it away itself, by renaming it, and puts the
ruleset before back in force, counters included, even if the terminal, the connection or
the command that started it is long gone.

The time runs from when the new rules are in force, or from the end of the command that
was to put them there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bpfilter.dataclass import dataclass
from bpfilter.errors import BusyError, Error
from bpfilter.kernel.fd import Fd
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    from bpfilter.firewall.live import Firewall

POLL_S = 0.1
#: How long the guardian stays after it has rolled back, for others to see that it did.
SHOWN_S = 1.0


@dataclass(slots=True)
class Pending:
    """A rollback that waits for a confirmation, or is happening."""

    path: Path
    seconds: float = 0
    #: A pipe whose end starts the guardian's clock, for the command that started it.
    starter: int | None = None

    def arm(self, applied_at: float) -> None:
        """Start the clock: the ruleset of that time (`Generation.applied_at`) is in force.

        Should another ruleset be in force at the deadline, put there by somebody else, that
        one stays.
        """
        assert self.starter is not None
        with contextlib.suppress(BrokenPipeError):
            os.write(self.starter, str(applied_at).encode())
        self._close()

    def confirm(self) -> bool:
        """Keep the new ruleset; False if it was too late."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        finally:
            self._close()
        return True

    def reject(self) -> None:
        """Have the guardian roll back now; `wait` tells when it has."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(self.path.read_text()), signal.SIGUSR1)

    def wait(self) -> bool:
        """Wait for the end; True if the ruleset before is in force again.

        False if it was confirmed, replaced by somebody else, or the guardian was killed.
        """
        while self.is_open:
            time.sleep(POLL_S)
        rolled_back = False
        while _is_guarded(_claimed(self.path)):
            rolled_back = True
            time.sleep(POLL_S)
        return rolled_back

    @property
    def is_open(self) -> bool:
        """Whether it can still be confirmed."""
        return _is_guarded(self.path)

    def _close(self) -> None:
        if self.starter is not None:
            os.close(self.starter)
            self.starter = None


def start(firewall: Firewall, family: Family, seconds: float) -> Pending:
    """Start the guardian over what is in force now; call this before applying.

    Raises: BusyError if another rollback of this family is pending.
    """
    directory = firewall.state_directory()
    firewall.kernel.make_directory(directory)
    path = _path(directory, family)
    if path.exists() and not _is_guarded(path):
        path.unlink()  # of a guardian that was killed
    previous = firewall.text(family)
    starter = _fork_guardian(_Guardian(firewall, family, previous, path, seconds))
    if starter is None:
        raise BusyError(
            f"an 'apply --confirm' of {family.command} rules still waits; "
            "run 'bpfilter confirm', or let it roll back"
        )
    return Pending(path, seconds, starter)


def find(directory: Path, family: Family) -> Pending | None:
    """Give the rollback pending for a family; one whose guardian died is none."""
    pending = Pending(_path(directory, family))
    return pending if pending.is_open else None


def _path(directory: Path, family: Family) -> Path:
    return directory / f"pending-{family.command}"


def _claimed(path: Path) -> Path:
    return path.with_name(path.name.replace("pending", "unconfirmed"))


def _is_guarded(path: Path) -> bool:
    # Its guardian has the file locked as long as it lives.
    try:
        with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as file:
            fcntl.flock(file.number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _fork_guardian(guardian: _Guardian) -> int | None:
    # Forked twice, so that it is nobody's child and outlives the terminal's session. Gives the
    # pipe that starts its clock, by its end at the latest; None if there is another guardian.
    ready, tell = os.pipe()
    clock, starter = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            if os.fork() == 0:
                for number in (ready, starter):
                    os.close(number)
                guardian.run(tell, clock)
            status = 0
        finally:
            os._exit(status)
    for number in (tell, clock):
        os.close(number)
    with os.fdopen(ready, "rb") as pipe:
        is_ready = pipe.read()
    os.waitpid(child, 0)
    if is_ready:
        return starter
    os.close(starter)
    return None


class _Guardian:
    """The process that waits, and rolls back."""

    def __init__(
        self,
        firewall: Firewall,
        family: Family,
        previous: bytes | None,
        path: Path,
        seconds: float,
    ) -> None:
        self.firewall = firewall
        self.family = family
        self.previous = previous
        self.path = path
        self.seconds = seconds
        self.rejected = False

    def run(self, tell: int, clock: int) -> None:
        signal.signal(signal.SIGUSR1, self._reject)
        for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        with self._pending_file():
            os.write(tell, b"ready")
            os.close(tell)
            if not self._is_confirmed(os.read(clock, 64)):
                self._roll_back()
                time.sleep(SHOWN_S)
                _claimed(self.path).unlink(missing_ok=True)

    def _reject(self, *_: object) -> None:
        self.rejected = True

    def _pending_file(self) -> Fd:
        # Locked before it has its name, which it gets only if nobody else has it.
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        file = Fd(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        fcntl.flock(file.number, fcntl.LOCK_EX)
        os.write(file.number, str(os.getpid()).encode())
        try:
            os.link(temporary, self.path)
        finally:
            temporary.unlink()
        return file

    def _is_confirmed(self, applied_at: bytes) -> bool:
        deadline = time.monotonic() + self.seconds
        while not self.rejected and time.monotonic() < deadline:
            if not self.path.exists():
                return True
            time.sleep(POLL_S)
        try:
            if not self._is_still_in_force(applied_at):
                self.path.unlink()
                return True
            self.path.rename(_claimed(self.path))
        except FileNotFoundError:
            return True
        return False

    def _is_still_in_force(self, applied_at: bytes) -> bool:
        if not applied_at:  # the command has not lived to tell
            return True
        try:
            generation = self.firewall.generation(self.family)
        except Error:
            return True
        return generation is not None and generation.applied_at == float(applied_at)

    def _roll_back(self) -> None:
        for _ in range(10):
            try:
                if self.previous is None:
                    self.firewall.clear(self.family)
                else:
                    source = "rolled back: not confirmed"
                    self.firewall.apply_text(
                        self.previous, self.family, source=source, counters=True
                    )
                return
            except Error:
                time.sleep(1)
