"""A kernel that dies, or lets its caller die, at a chosen step: the real one, counted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from bpfilter.abi.bpf import Command
from bpfilter.errors import KernelError
from bpfilter.kernel.linux import LinuxKernel

#: What changes something; looking does not count as a step.
CHANGES = {
    Command.MAP_CREATE,
    Command.MAP_UPDATE_ELEM,
    Command.MAP_DELETE_ELEM,
    Command.PROG_LOAD,
    Command.OBJ_PIN,
    Command.LINK_CREATE,
    Command.LINK_DETACH,
}


class CountedKernel(LinuxKernel):
    """Calls `at_step(number)` before each call that changes something."""

    def __init__(self, at_step: Callable[[int], None] | None = None) -> None:
        self.steps = 0
        self.at_step = at_step

    def _step(self) -> None:
        number = self.steps
        self.steps += 1
        if self.at_step is not None:
            self.at_step(number)

    def bpf(self, command: Command, attr: bytearray, op: str) -> int:
        if command in CHANGES:
            self._step()
        return super().bpf(command, attr, op)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def replace_file(self, path: Path, data: bytes) -> None:
        self._step()
        super().replace_file(path, data)

    def make_directory(self, path: Path) -> None:
        self._step()
        super().make_directory(path)

    def delete_nft_table(self, family: int, name: str, generation: int) -> bool:
        self._step()
        return super().delete_nft_table(family, name, generation)

    def wait_for_readers(self) -> None:
        self._step()
        super().wait_for_readers()


def killing(at: int) -> CountedKernel:
    """Give a kernel that kills this process, as `kill -9` does, at a step."""

    def kill(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return CountedKernel(kill)


def failing(at: int, code: int) -> CountedKernel:
    """Give a kernel whose step fails with an errno."""

    def fail(number: int) -> None:
        if number == at:
            raise KernelError(f"step {number} (made to fail)", code)

    return CountedKernel(fail)


def killed_in_child(work: Callable[[], object]) -> bool:
    """Run in a forked child; True if it was killed, False if it ended by itself."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
    return False
