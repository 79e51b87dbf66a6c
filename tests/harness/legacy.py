"""iptables-legacy 1.8.11 as a judge: that of the Debian root, run out here by its own loader."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.harness.debian import FetchError
from tests.harness.debian_root import find_root

VERSION = "1.8.11"


def legacy(name: str) -> tuple[str, ...]:
    """Give the words that run a command of it, such as ip6tables-restore."""
    root = _root()
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return (
        "env",
        f"XTABLES_LIBDIR={libraries / 'xtables'}",
        str(root / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(libraries),
        str(root / "usr/sbin/xtables-legacy-multi"),
        name,
    )


@cache
def _root() -> Path:
    try:
        return find_root()
    except FetchError as error:
        pytest.fail(f"no Debian root with iptables {VERSION}: {error}", pytrace=False)
