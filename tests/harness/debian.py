"""Debian's packages, from the mirror that apt of this machine uses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SUITES = {"stable", "testing", "unstable", "sid", "bullseye", "bookworm", "trixie", "forky"}


class FetchError(Exception):
    """Something of Debian's cannot be had; `str()` says why."""


def cache_directory(name: str) -> Path:
    """Give this project's cache of a name, under the user's."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / f"bpfilter-{name}"


def find_mirror() -> str:
    """Give the address of Debian's own mirror among apt's sources. Raises: FetchError.

    Whose one is, its lists say; a machine on which `apt-get update` has not been run yet
    has none, and then the name must do.
    """
    for known in ([], ["--no-release-info"]):
        form = ["--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"]
        listing = run(["apt-get", "indextargets", *known, *form, "Created-By: Packages"])
        for line in listing.splitlines():
            uri, release, component, origin = line.split("|")
            debian = origin == "Debian" if not known else release in _SUITES
            if debian and component == "main" and not release.endswith("-security"):
                return uri
    raise FetchError("there is no Debian mirror among apt's sources")


def run(command: list[str], directory: Path | None = None, name: str | None = None) -> str:
    """Run a command and give its output.

    Raises: FetchError with what apt's programs mark as an error first, or was said last; `name`
    stands for a command too long to be shown.
    """
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        errors = [line.strip() for line in said if line.lstrip().startswith("E: ")]
        words = name or " ".join(word for word in command if not word.startswith("-o"))
        raise FetchError(f"{words}: {(errors or said[-1:])[0]}")
    return done.stdout
