"""Kernels out of Debian's packages, unpacked into a cache; nothing is installed.

cache/<release>/apt/            a private apt: its lists, no keys or sources of its own
cache/<release>/<version>/      the packages' files
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.debian import FetchError, find_mirror, run
from tests.vm.kernels import VmKernel

#: A kernel as young as this (seconds) is not looked for again.
FRESH_S = 7 * 86400

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PART = re.compile(r"\blinux-(?:image|binary|modules)-\d[\w.+~-]*")


def find_image(kernel: VmKernel, cache: Path, *, update: bool = False) -> Path:
    """Give the path of a bootable image with its modules beside it. Raises: FetchError."""
    if kernel.directory is not None:
        return _image_in(kernel.directory)
    home = cache / kernel.name
    cached = _newest(home)
    if cached is None or update or time.time() - cached.stat().st_mtime > FRESH_S:
        cached = _fetch(kernel.name, home)
    return _image_in(cached)


def kernel_packages(start: str, describe: Callable[[str], str]) -> tuple[list[str], str]:
    """Follow a metapackage to the packages with the files; gives them and their version.

    `describe` gives a package's record (`apt-cache show`). Debian names the version of a
    kernel in the package's name, and has split them in several since 2025.
    """
    found: list[str] = []
    version = ""
    todo = [start]
    while todo:
        name = todo.pop()
        record = describe(name)
        fields = dict(re.findall(r"^(Depends|Version): (.*)$", record, re.MULTILINE))
        version = fields.get("Version", version)
        for part in _PART.findall(fields.get("Depends", "")):
            if part not in found:
                found.append(part)
                todo.append(part)
    return sorted(found), version


def _fetch(suite: str, home: Path) -> Path:
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise FetchError(f"{program} is needed to fetch Debian's kernels")
    apt = _Apt(home / "apt", suite)
    apt.run("apt-get", "update")
    packages, version = kernel_packages(
        "linux-image-amd64", lambda name: apt.run("apt-cache", "show", "--no-all-versions", name)
    )
    if not packages:
        raise FetchError(f"Debian {suite} has no kernel where it should be")
    done = home / version
    if not done.exists():
        with tempfile.TemporaryDirectory(dir=home) as name:
            work = Path(name)
            apt.run("apt-get", "download", *packages, directory=work)
            for package in work.glob("*.deb"):
                run(["dpkg-deb", "-x", package.name, "unpacked"], work)
            for old in home.glob("[0-9]*"):
                shutil.rmtree(old)
            (work / "unpacked").rename(done)
    done.touch()
    return done


class _Apt:
    # apt with lists of its own, for one release, at the mirror this machine has.
    def __init__(self, directory: Path, suite: str) -> None:
        self.options = [
            f"-oDir::Etc::sourcelist={directory}/sources.list",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={directory}/lists",
            f"-oDir::Cache={directory}/cache",
            "-oAcquire::Languages=none",
            "-oAcquire::Retries=3",
            "-oAPT::Sandbox::User=root",
        ]
        for part in ("lists/partial", "cache/archives/partial"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        signed = f" signed-by={KEYRING}" if KEYRING.exists() else ""
        source = f"deb [arch=amd64{signed}] {find_mirror()} {suite} main\n"
        (directory / "sources.list").write_text(source)

    def run(self, program: str, *words: str, directory: Path | None = None) -> str:
        return run([program, *self.options, "-q", *words], directory)


def _newest(home: Path) -> Path | None:
    return max(home.glob("[0-9]*"), key=lambda path: path.stat().st_mtime, default=None)


def _image_in(directory: Path) -> Path:
    for pattern in ("vmlinuz-*", "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"):
        for image in directory.glob(pattern):
            return image
    raise FetchError(f"there is no kernel in {directory}")
