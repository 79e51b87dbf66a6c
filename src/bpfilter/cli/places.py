"""Where rules are saved: a directory, /etc/bpfilter by default, or files by family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpfilter.cli import common
from bpfilter.cli.usage import UsageError
from bpfilter.rules.model import Family

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "places",
        metavar="FILE",
        nargs="*",
        help="files, or a directory with rules.v4 and rules.v6; default: /etc/bpfilter",
    )


def places(words: list[str], family: Family | None) -> Mapping[Family, Path]:
    """Give the file of each family that is asked for. Raises: UsageError."""
    from pathlib import Path

    from bpfilter.iptables.kept import DIRECTORY, NAMES

    families = [family] if family else common.FAMILIES
    paths = [Path(word) for word in words] or [DIRECTORY]
    if len(paths) == 1 and (paths[0].is_dir() or not words or words[0].endswith("/")):
        return {each: paths[0] / NAMES[each] for each in families}
    if family and len(paths) == 1:
        return {family: paths[0]}
    found: dict[Family, Path] = {}
    for path in paths:
        of = common.guess_family(str(path), b"")
        if of is None:
            raise UsageError(
                f"{path}: is it IPv4 or IPv6? End its name in .v4 or .v6, or give -4 or -6"
            )
        if of in found:
            raise UsageError(f"{path}: is a second file of {common.family_name(of)}")
        found[of] = path
    return found
