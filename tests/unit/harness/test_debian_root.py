"""When a Debian root is used again, and that one which cannot be made is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.harness import debian_root
from tests.harness.debian import FetchError


def _root(cache: Path, days_old: float, recipe: str | None = None) -> Path:
    root = cache / f"root-{recipe or debian_root._recipe()}-{days_old}"
    name = root / "etc/hostname"
    name.parent.mkdir(parents=True)
    name.touch()
    os.utime(name, (0, time.time() - days_old * 86400))
    return root


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_root, "_make", lambda cache: _root(cache, 0))


def test_the_youngest_is_used(tmp_path: Path) -> None:
    _root(tmp_path, 9)
    young = _root(tmp_path, 3)
    _root(tmp_path, 1, recipe="other")
    assert debian_root.find_root(tmp_path) == young


@pytest.mark.usefixtures("made")
def test_an_old_one_is_replaced_and_kept_for_who_is_in_it(tmp_path: Path) -> None:
    old = _root(tmp_path, 15)
    assert debian_root.find_root(tmp_path).name.endswith("-0")
    assert old.exists()


@pytest.mark.usefixtures("made")
def test_what_nobody_can_be_in_any_more_goes(tmp_path: Path) -> None:
    old = _root(tmp_path, 29, recipe="other")
    debian_root.find_root(tmp_path)
    assert not old.exists()


def test_what_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="mmdebstrap is needed"):
        debian_root.find_root(tmp_path)
