"""What `bpfilter install` has made on a machine, and what was there before.

    /var/lib/bpfilter/installed.json, written before each step that it is about

So whoever was interrupted can go on, and `uninstall` gives back what was there.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from bpfilter.errors import StateError

_PATH = "var/lib/bpfilter/installed.json"


class Installed:
    """The record of a machine, or of a tree that is to be one (`root`).

    `links` are made links and where they lead, `files` made files and the hashes of what we
    wrote there at one time, `alternatives` groups and how they were: None, or status and value.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / _PATH
        self.links: dict[str, str] = {}
        self.files: dict[str, list[str]] = {}
        self.alternatives: dict[str, list[str] | None] = {}

    @classmethod
    def read(cls, root: Path) -> Installed | None:
        """Give the record, None if there is none. Raises: StateError."""
        made = cls(root)
        try:
            data = json.loads(made.path.read_text("utf-8"))
            for name in ("links", "files", "alternatives"):
                setattr(made, name, dict(data[name]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{made.path}: what was installed cannot be told: {error}; without this file "
                "'bpfilter install' begins anew"
            ) from error
        return made

    def write(self) -> None:
        data: dict[str, Any] = {
            "links": self.links,
            "files": self.files,
            "alternatives": self.alternatives,
        }
        write_whole(self.path, json.dumps(data, indent=1).encode() + b"\n", 0o644)

    def forget(self) -> None:
        """Remove the record, and its directory with it unless something else is in there."""
        self.path.unlink(missing_ok=True)
        remove_empty(self.path.parent)

    def at(self, path: str) -> Path:
        """Give where a path of the machine is now."""
        return self.root / path.lstrip("/")

    def is_ours(self, path: str) -> bool:
        """Say whether a file is as it was written, and nobody has changed it since."""
        try:
            return _hashed(self.at(path).read_bytes()) in self.files.get(path, [])
        except OSError:
            return False

    def add_file(self, path: str, data: bytes) -> None:
        """Know of what is about to be written, beside what may be there of ours."""
        known = self.files.setdefault(path, [])
        if _hashed(data) not in known:
            known.append(_hashed(data))

    def is_our_link(self, path: str) -> bool:
        place = self.at(path)
        return place.is_symlink() and os.readlink(place) == self.links.get(path)


def _hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is whole at any time, or was never there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
    os.replace(temporary, path)


def link_whole(path: Path, target: str) -> None:
    """Make a symbolic link, in the place of one that may be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)


def remove_empty(directory: Path) -> None:
    """Remove a directory if nothing is in it."""
    try:
        directory.rmdir()
    except OSError:
        return
