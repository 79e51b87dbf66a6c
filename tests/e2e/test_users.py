"""Rules that ask for users, in a network namespace whose users are others."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from bpfilter import Family, Firewall, RefusedError
from tests.e2e.test_apply import rules
from tests.harness.engines import legacy_restore
from tests.harness.netns import NETNS_DIRECTORY, PREFIX, Namespace, run

pytestmark = pytest.mark.e2e


@pytest.fixture
def foreign() -> Iterator[Namespace]:
    """A network namespace of another user namespace, as a container without privileges has."""
    home = os.stat("/proc/self/ns/net").st_ino
    path = NETNS_DIRECTORY / f"{PREFIX}{os.getpid()}-users"
    with subprocess.Popen(["unshare", "--user", "--net", "sleep", "60"]) as sleeper:
        try:
            while os.stat(f"/proc/{sleeper.pid}/ns/net").st_ino == home:
                time.sleep(0.01)
            path.touch()
            run("mount", "--bind", f"/proc/{sleeper.pid}/ns/net", str(path))
        finally:
            sleeper.kill()
    with Namespace.existing(path.name) as namespace:
        yield namespace
        for family in Family:
            Firewall(path).clear(family)


@pytest.mark.parametrize("asked", ["--uid-owner 0", "! --gid-owner 7-9"])
def test_users_of_another_user_namespace_are_refused(foreign: Namespace, asked: str) -> None:
    rule = f"-A OUTPUT -m owner {asked} -j DROP"
    firewall = Firewall(foreign.path)
    for attempt in (firewall.apply, firewall.verify):
        with pytest.raises(RefusedError, match=r"^test:6:1: .*another user namespace"):
            attempt(rules("-A INPUT", rule))
    with pytest.raises(subprocess.CalledProcessError):
        legacy_restore(foreign, 4, f"*filter\n{rule}\nCOMMIT\n")


def test_sockets_there_are_like_any(foreign: Namespace) -> None:
    Firewall(foreign.path).apply(rules("-A OUTPUT -m owner --socket-exists -j ACCEPT"))
