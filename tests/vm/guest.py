"""Booting a kernel on this machine's file system, without KVM, and running tests in it.

The guest has this machine's files as they are, read-only or as a layer that vanishes with
it (virtme-ng); only the results' directory is shared for writing. The tests there run this
checkout's code, whichever is installed beside this Python: what they import is told and looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.vm.kernels import ROOT, VmKernel
from tests.vm.report import Outcome, read_report

#: One CPU: emulated ones that run at once sometimes trip over each other's code patching.
_MACHINE = ("--disable-kvm", "--force-9p", "--verbose", "--memory", "2G", "--cpus", "1")

#: A boot that ends before the tests begin says nothing about them.
_TRIES = 3
_BOOT_S = 180

#: What QEMU emulates wrong: with AVX2 in the guest numpy's argsort gives no order (seen with QEMU
#: 7.2, numpy 2.4).
_BROKEN = "X86_V3"

# Neither caches nor byte code can be written, and importing costs much without KVM.
_PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")


@dataclass(frozen=True, slots=True)
class Visit:
    """`release` is what the guest calls its kernel; `trouble` says why there is no outcome."""

    release: str
    outcome: Outcome
    trouble: str = ""


def run_tests(
    kernel: VmKernel, image: Path, work: Path, limit_s: float, quick: bool = False
) -> Visit:
    """Boot a kernel and run its tests; `work` is a directory to make others in."""
    work.mkdir(parents=True, exist_ok=True)
    visit = Visit("", Outcome(), "it was not tried")
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="guest-", dir=work) as name:
            visit = _visit(kernel, image, Path(name), limit_s, quick)
        if visit.release:
            break
    return visit


def _visit(kernel: VmKernel, image: Path, shared: Path, limit_s: float, quick: bool) -> Visit:
    script = shared / "run"
    script.write_text(_script(kernel.tests(quick), shared))
    console = _boot(image, shared, script, limit_s)
    release = _read(shared / "release").strip()
    if not release:
        return Visit("", Outcome(), f"it did not boot: {_last(console)}")
    if not release.startswith(kernel.series):
        return Visit(release, Outcome(), f"its release was to begin with {kernel.series}")
    imported = _read(shared / "imported").strip()
    if not Path(imported).is_relative_to(ROOT / "src"):
        return Visit(release, Outcome(), f"it tests {imported or 'nothing'}, not {ROOT}")
    report = shared / "report.xml"
    if not report.exists():
        log = _read(shared / "log")
        return Visit(release, Outcome(), f"no report after {limit_s:.0f} s at most: {_last(log)}")
    return Visit(release, read_report(report))


def _script(tests: tuple[str, ...], shared: Path) -> str:
    report = shared / "report.part"
    tell = shlex.join([sys.executable, "-c", "import bpfilter; print(bpfilter.__file__)"])
    command = shlex.join([sys.executable, *_PYTEST, f"--junitxml={report}", *tests])
    return f"""\
uname -r > {shared}/release
cd {shlex.quote(str(ROOT))} || exit
export PYTHONPATH={shlex.quote(f"{ROOT}/src")}
export PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/run/hypothesis
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export NPY_DISABLE_CPU_FEATURES={_BROKEN}
{tell} > {shared}/imported
{command} > {shared}/log 2>&1
mv {report} {shared}/report.xml
"""


def _boot(image: Path, shared: Path, script: Path, limit_s: float) -> str:
    # Gives what was on the console.
    tools = Path(sys.executable).parent
    path = os.pathsep.join((str(tools), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    vng = shutil.which("vng", path=path)
    if vng is None:
        raise FileNotFoundError("virtme-ng is not installed beside this Python")
    command = [vng, "--run", str(image), *_MACHINE, f"--rwdir={shared}", "--exec", f"sh {script}"]
    console = shared / "console"
    with console.open("wb") as output:
        guest = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path},
            start_new_session=True,
        )
        try:
            guest.wait(_BOOT_S)
        except subprocess.TimeoutExpired:
            if (shared / "release").exists():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    guest.wait(max(limit_s - _BOOT_S, 0))
        finally:
            _end(guest)
    return re.sub(r"[^\n\x20-\x7e]", "", _read(console))


def _end(guest: subprocess.Popen[bytes]) -> None:
    # The whole group, QEMU too; it is the leader of its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
