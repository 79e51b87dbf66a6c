"""Commands as their users run them, measured: time, peak of memory, how they ended."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpfilter
from bpfilter.iptables.install import PROGRAMS
from tests.harness.netns import Namespace

_LAUNCHER = Path(__file__).with_name("launch.py")
#: What a user's shell has not set.
_NOT_PASSED_ON = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONPROFILEIMPORTTIME")
#: What pip would have made (see `project.scripts` in pyproject.toml), by the module it starts.
_SCRIPTS = {
    "bpfilter": "bpfilter.cli.main",
    **dict.fromkeys(PROGRAMS, "bpfilter.iptables.program"),
}
_SCRIPT = """\
#!{python}
import sys
from {module} import run
if __name__ == "__main__":
    sys.exit(run())
"""
#: Rules that are not ours to enforce are an error: nobody else is to be measured for us.
_SETTINGS = "unenforceable = refuse\n"


class CommandFailed(Exception):
    """A measured command failed, or took longer than it may."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took: wall clock, and the peak of its resident memory."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Commands:
    """How to call what is measured.

    `scripts` is where our own programs are; `environment` has an installed copy of this project,
    its settings, and a lock of iptables that nobody else takes.
    """

    scripts: Path
    environment: dict[str, str]

    @property
    def ours(self) -> str:
        return self.script("bpfilter")

    def script(self, name: str) -> str:
        """Give the word that calls a program of ours."""
        return str(self.scripts / name)

    def measure(
        self, namespace: Namespace, words: Sequence[str], limit_s: float, stdin: bytes = b""
    ) -> Taken:
        """Run a command in a network namespace. Raises: CommandFailed."""
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), *words]
        with namespace.entered():
            process = subprocess.Popen(
                launcher,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                start_new_session=True,
            )
        try:
            output, errors = process.communicate(stdin, limit_s)
        except BaseException as error:
            _kill(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(f"not done after {limit_s:.0f} s") from None
            raise
        if process.returncode:
            raise CommandFailed(_tail(errors))
        told = json.loads(output)
        if told["status"]:
            raise CommandFailed(_tail(errors) or f"exit status {told['status']}")
        return Taken(told["seconds"], told["peak_kib"] << 10)

    def output(self, namespace: Namespace, words: Sequence[str]) -> str:
        """Give what a command prints. Raises: CalledProcessError."""
        with namespace.entered():
            done = subprocess.run(
                words, stdout=subprocess.PIPE, env=self.environment, check=True, text=True
            )
        return done.stdout


@contextlib.contextmanager
def installed() -> Iterator[Commands]:
    """Have a copy of this project as pip installs it, byte-compiled, for a `with` block."""
    with tempfile.TemporaryDirectory(prefix="bpfilter-bench-") as name:
        directory = Path(name)
        package = directory / "lib" / "bpfilter"
        source = Path(bpfilter.__file__).parent
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
        if not compileall.compile_dir(package, quiet=1):
            raise CommandFailed(f"{source} does not compile")
        scripts = directory / "bin"
        scripts.mkdir()
        for name, module in _SCRIPTS.items():
            script = scripts / name
            script.write_text(_SCRIPT.format(python=sys.executable, module=module))
            script.chmod(0o755)
        settings = directory / "bpfilter.conf"
        settings.write_text(_SETTINGS)
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
        environment["PYTHONPATH"] = str(package.parent)
        environment["BPFILTER_CONF"] = str(settings)
        environment["XTABLES_LOCKFILE"] = str(directory / "xtables.lock")
        yield Commands(scripts, environment)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _tail(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
