"""The kernel's own iptables: the program that tables go to which are not enforced as eBPF.

`iptables-nft` or `iptables-legacy` by these names, never `iptables`, which may be us. Both
are programs that do what the name they are called by says, so they are called `iptables`,
`iptables-save` and so on, which is how their messages begin then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from bpfilter.dataclass import dataclass
from bpfilter.errors import ToolError
from bpfilter.iptables.config import Config
from bpfilter.iptables.lock import held
from bpfilter.rules.model import Family

#: Looked in after PATH, which of ordinary users has no sbin.
_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
#: Whom iptables-legacy waits for (xtables_lock, iptables/xshared.c); we are that already when
#: it is run in the middle of something.
_LOCK_VARIABLE = "XTABLES_LOCKFILE"


@dataclass(frozen=True, slots=True)
class KernelTool:
    """`kind` is nft or legacy."""

    kind: str

    def path(self, family: Family, verb: str = "") -> str:
        """Give the program's path; `verb` is nothing, `save` or `restore`.

        Raises: ToolError if it is not there.
        """
        name = "-".join([family.command, self.kind] + ([verb] if verb else []))
        found = _find(name)
        if found is None:
            raise ToolError(
                f"{name} is not installed, and what eBPF does not enforce would go to it; "
                "install the package iptables, or set kernel-tool in /etc/bpfilter.conf"
            )
        return found

    def become(self, family: Family, verb: str, words: Sequence[str]) -> NoReturn:
        """Go on as that program. Raises: ToolError."""
        path = self.path(family, verb)
        try:
            os.execv(path, [_called(family, verb), *words])
        except OSError as error:
            raise ToolError(f"{path}: {error.strerror}") from error

    def run(
        self, family: Family, verb: str, words: Sequence[str], text: bytes | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run it, with `text` as its input; gives exit status, output, messages.

        Raises: ToolError if it cannot be run.
        """
        import subprocess

        path = self.path(family, verb)
        # A lock that nobody else has: another of us may be running the same, which needs none.
        lock = os.memfd_create("xtables.lock")
        environment = {**os.environ, _LOCK_VARIABLE: f"/proc/self/fd/{lock}"}
        try:
            done = subprocess.run(
                [_called(family, verb), *words],
                executable=path,
                input=b"" if text is None else text,
                capture_output=True,
                env=environment,
                pass_fds=(lock, *held()),
                check=False,
            )
        except OSError as error:
            raise ToolError(f"{path}: {error.strerror}") from error
        finally:
            os.close(lock)
        return done.returncode, done.stdout, done.stderr


def find_tool(config: Config) -> KernelTool | None:
    """Give the tool that is configured, or found; None if there is none."""
    if config.kernel_tool == "none":
        return None
    if config.kernel_tool != "auto":
        return KernelTool(config.kernel_tool)
    for kind in ("nft", "legacy"):
        if _find(f"iptables-{kind}") is not None:
            return KernelTool(kind)
    return None


def _called(family: Family, verb: str) -> str:
    return f"{family.command}-{verb}" if verb else family.command


def _find(name: str) -> str | None:
    for directory in (*os.environ.get("PATH", "").split(":"), *_SBIN):
        path = f"{directory}/{name}"
        if directory and os.access(path, os.X_OK):
            return path
    return None
